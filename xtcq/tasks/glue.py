"""The eight GLUE tasks as XTC trains them.

Lengths and batch sizes are those of XTC, Section B.2 and Table C.1; row counts are the official ones that Table C.1
prints under "Train (noDA)" and "Dev data". Column names are those of the Hugging Face release ``nyu-mll/glue``. The
first metric of a task is one that enters XTC's average.
"""

from __future__ import annotations

from typing import Any

from xtcq.tasks.spec import TaskSpec

_PAIR = ("sentence1", "sentence2")
_ONE, _BOTH, _CORRELATIONS = ("accuracy",), ("accuracy", "f1"), ("pearson", "spearman")


def _glue(
    name: str, title: str, columns: tuple[str, ...], metrics: tuple[str, ...], train: int, *dev: int, **other: Any
) -> TaskSpec:
    names = ("validation",) if len(dev) == 1 else ("validation_matched", "validation_mismatched")
    rows = {"train": train} | dict(zip(names, dev, strict=True))
    fields = {"num_labels": 2, "max_length": 128, "batch_size": 32} | other
    return TaskSpec(name, title, columns, metrics=metrics, rows=rows, **fields)


_SPECS = (
    _glue("cola", "CoLA", ("sentence",), ("matthews",), 8_551, 1_043, max_length=64, batch_size=16, majority=721),
    _glue("mnli", "MNLI", ("premise", "hypothesis"), _ONE, 392_702, 9_815, 9_832, num_labels=3),
    _glue("mrpc", "MRPC", _PAIR, _BOTH, 3_668, 408, majority=279),
    _glue("qnli", "QNLI", ("question", "sentence"), _ONE, 104_743, 5_463, majority=2_761),
    _glue("qqp", "QQP", ("question1", "question2"), _BOTH, 363_846, 40_430),
    _glue("rte", "RTE", _PAIR, _ONE, 2_490, 277, majority=146),
    _glue("sst2", "SST-2", ("sentence",), _ONE, 67_349, 872, max_length=64, majority=444),
    _glue("stsb", "STS-B", _PAIR, _CORRELATIONS, 5_749, 1_500, num_labels=1),
)

GLUE_SPECS: dict[str, TaskSpec] = {spec.name: spec for spec in _SPECS}

"""The tasks by name, each with its official data, and the eight GLUE tasks as XTC trains them.

Lengths and batch sizes are those of XTC, Section B.2 and Table C.1; row counts are the official ones that Table C.1
prints under "Train (noDA)" and "Dev data". Column names are those of the Hugging Face release ``nyu-mll/glue``. The
first metric of a task is one that enters XTC's average.
"""

from __future__ import annotations

import hashlib
from typing import Any

from xtcq.tasks.columns import check_texts, read_labels
from xtcq.tasks.demo import DEMO_SPECS, make_demo_task
from xtcq.tasks.spec import QuestionSpec, Task, TaskSpec
from xtcq.tasks.splits import read_split
from xtcq.tasks.squad import SQUAD_SPECS, load_questions

_PAIR = ("sentence1", "sentence2")
_ONE, _BOTH, _CORRELATIONS = ("accuracy",), ("accuracy", "f1"), ("pearson", "spearman")


def _glue(
    name: str, title: str, columns: tuple[str, ...], metrics: tuple[str, ...], train: int, *dev: int, **other: Any
) -> TaskSpec:
    names = ("validation",) if len(dev) == 1 else ("validation_matched", "validation_mismatched")
    rows = {"train": train} | dict(zip(names, dev, strict=True))
    fields = {"num_labels": 2, "max_length": 128, "batch_size": 32} | other
    return TaskSpec(name, title, columns, metrics=metrics, rows=rows, **fields)


_GLUE = (
    _glue("cola", "CoLA", ("sentence",), ("matthews",), 8_551, 1_043, max_length=64, batch_size=16, majority=721),
    _glue("mnli", "MNLI", ("premise", "hypothesis"), _ONE, 392_702, 9_815, 9_832, num_labels=3),
    _glue("mrpc", "MRPC", _PAIR, _BOTH, 3_668, 408, majority=279),
    _glue("qnli", "QNLI", ("question", "sentence"), _ONE, 104_743, 5_463, majority=2_761),
    _glue("qqp", "QQP", ("question1", "question2"), _BOTH, 363_846, 40_430),
    _glue("rte", "RTE", _PAIR, _ONE, 2_490, 277, majority=146),
    _glue("sst2", "SST-2", ("sentence",), _ONE, 67_349, 872, max_length=64, majority=444),
    _glue("stsb", "STS-B", _PAIR, _CORRELATIONS, 5_749, 1_500, num_labels=1),
)
GLUE_SPECS: dict[str, TaskSpec] = {spec.name: spec for spec in _GLUE}
_SPECS = GLUE_SPECS | SQUAD_SPECS | DEMO_SPECS
TASKS = tuple(_SPECS)


def task_spec(name: str) -> TaskSpec:
    """Look up the fixed facts of a task; a ValueError names the tasks that there are.

    >>> from xtcq.tasks import task_spec
    >>> task_spec("mrpc").metrics
    ('accuracy', 'f1')
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}: the tasks are {', '.join(TASKS)}")
    return _SPECS[name]


def load_task(name: str) -> Task:
    """Load a task with its data.

    A demo task is generated. A GLUE task is read from ``$XTCQ_DATA/glue/<name>/<split>.parquet`` where that folder
    exists, and from ``nyu-mll/glue`` on the Hugging Face hub otherwise (``HF_HUB_OFFLINE=1`` restricts that to the
    local cache); SQuAD likewise, see ``xtcq.tasks.squad.load_questions``. Every split must have exactly the official
    number of rows, so that a result under an official name is a result on the official data.

    Raises:
        ValueError: the task is unknown, or a file is damaged, lacks a column, has another number of rows than the
            official split, or holds empty texts or labels out of range.
        FileNotFoundError: no source has the data, or a split is missing from the folder.

    >>> from xtcq.tasks import load_task
    >>> len(load_task("demo-pairs").train)
    1200
    """
    spec = task_spec(name)
    if spec.synthetic:
        return make_demo_task(name)
    if isinstance(spec, QuestionSpec):
        return load_questions(spec)
    frames = {}
    for split in spec.rows:
        frame, origin = read_split(spec, split, spec.rows, "nyu-mll/glue", name)
        frame = check_texts(frame, spec.columns, ["label"], origin)
        # STS-B is the one regression.
        frames[split] = frame.assign(label=read_labels(frame["label"], spec.num_labels, origin, least=0, most=5))
    return Task(spec, frames.pop("train"), frames)


def data_digest(task: Task) -> str:
    """Digest of a task's examples, the same whether they come from a folder or from the hub.

    It is the first 16 hexadecimal digits of the SHA-256 of all splits, row by row.
    """
    digest = hashlib.sha256()
    for split, frame in {"train": task.train, **task.evaluation}.items():
        digest.update(f"{split}\n{frame.to_json(orient='values')}\n".encode())
    return digest.hexdigest()[:16]

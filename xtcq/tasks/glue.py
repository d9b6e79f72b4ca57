"""The eight GLUE tasks as XTC trains them.

Lengths and batch sizes are those of XTC, Section B.2 and Table C.1; row counts are the official ones that Table C.1
prints under "Train (noDA)" and "Dev data". Column names are those of the Hugging Face release ``nyu-mll/glue``. The
first metric of a task is one that enters XTC's average.
"""

from xtcq.tasks.spec import TaskSpec


def _glue(
    name: str,
    title: str,
    columns: tuple[str, ...],
    metrics: tuple[str, ...],
    rows: dict[str, int],
    num_labels: int = 2,
    max_length: int = 128,
    batch_size: int = 32,
    majority: int | None = None,
) -> TaskSpec:
    return TaskSpec(name, title, columns, num_labels, max_length, batch_size, metrics, rows, majority=majority)


_SPECS = (
    _glue(
        "cola",
        "CoLA",
        ("sentence",),
        ("matthews",),
        {"train": 8_551, "validation": 1_043},
        max_length=64,
        batch_size=16,
        majority=721,
    ),
    _glue(
        "mnli",
        "MNLI",
        ("premise", "hypothesis"),
        ("accuracy",),
        {"train": 392_702, "validation_matched": 9_815, "validation_mismatched": 9_832},
        num_labels=3,
    ),
    _glue(
        "mrpc",
        "MRPC",
        ("sentence1", "sentence2"),
        ("accuracy", "f1"),
        {"train": 3_668, "validation": 408},
        majority=279,
    ),
    _glue(
        "qnli",
        "QNLI",
        ("question", "sentence"),
        ("accuracy",),
        {"train": 104_743, "validation": 5_463},
        majority=2_761,
    ),
    _glue("qqp", "QQP", ("question1", "question2"), ("accuracy", "f1"), {"train": 363_846, "validation": 40_430}),
    _glue("rte", "RTE", ("sentence1", "sentence2"), ("accuracy",), {"train": 2_490, "validation": 277}, majority=146),
    _glue(
        "sst2",
        "SST-2",
        ("sentence",),
        ("accuracy",),
        {"train": 67_349, "validation": 872},
        max_length=64,
        majority=444,
    ),
    _glue(
        "stsb",
        "STS-B",
        ("sentence1", "sentence2"),
        ("pearson", "spearman"),
        {"train": 5_749, "validation": 1_500},
        num_labels=1,
    ),
)

GLUE_SPECS: dict[str, TaskSpec] = {spec.name: spec for spec in _SPECS}

"""Finding a task's data, and refusing data that is not what its name says."""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from xtcq.tasks.demo import DEMO_SPECS, make_demo_task
from xtcq.tasks.glue import GLUE_SPECS
from xtcq.tasks.spec import Task, TaskSpec

TASKS: tuple[str, ...] = (*GLUE_SPECS, *DEMO_SPECS)

_HUB = "nyu-mll/glue"


def task_spec(name: str) -> TaskSpec:
    """Look up the fixed facts of a task.

    Raises:
        ValueError: If there is no task of this name.
    """
    specs = GLUE_SPECS | DEMO_SPECS
    if name not in specs:
        raise ValueError(f"unknown task {name!r}: the tasks are {', '.join(TASKS)}")
    return specs[name]


def load_task(name: str) -> Task:
    """Load a task with its data.

    A demo task is generated. A GLUE task is read from `$XTCQ_DATA/glue/<name>/<split>.parquet` where that folder
    exists, and from `nyu-mll/glue` on the Hugging Face hub otherwise (`HF_HUB_OFFLINE=1` restricts that to the local
    cache). Every split must have exactly the official number of rows, so that a result under an official name is a
    result on the official data.

    Raises:
        ValueError: If the task is unknown, or a file is damaged, lacks a column, has another number of rows than the
            official split, or holds empty texts or labels out of range.
        FileNotFoundError: If no source has the data, or a split is missing from the folder.
    """
    spec = task_spec(name)
    if spec.synthetic:
        return make_demo_task(name)
    folder = _local_folder(name)
    frames = {}
    for split in spec.rows:
        if folder is not None:
            path = folder / f"{split}.parquet"
            frame, origin = _read_parquet(path, spec), str(path)
        else:
            frame, origin = _read_hub(spec, split), f"{_HUB} ({name}, {split}) on the Hugging Face hub"
        frames[split] = _checked(frame, spec, split, origin)
    return Task(spec, frames.pop("train"), frames)


def _local_folder(name: str) -> Path | None:
    root = os.environ.get("XTCQ_DATA")
    if not root:
        return None
    if not Path(root).is_dir():
        raise FileNotFoundError(f"XTCQ_DATA names {root!r}, which is not a folder; correct or unset it")
    folder = Path(root, "glue", name)
    return folder if folder.is_dir() else None


def _read_parquet(path: Path, spec: TaskSpec) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: task {spec.name!r} needs the splits {', '.join(spec.rows)}; add the file, or remove "
            f"{path.parent} to read the task from the Hugging Face hub"
        )
    try:
        # One file at a time: a folder would be read as one data set with inferred partitions.
        return pq.ParquetFile(path).read().to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet ({error}); it is damaged, replace it") from error


def _read_hub(spec: TaskSpec, split: str) -> pd.DataFrame:
    wanted = ", ".join(f"{name}.parquet" for name in spec.rows)
    remedy = (
        f"put {wanted} (the columns of {_HUB}) into $XTCQ_DATA/glue/{spec.name}, where XTCQ_DATA is "
        f"{os.environ.get('XTCQ_DATA') or 'not set'}, or load the task once with a connection to the hub, or use a "
        f"demo task ({', '.join(DEMO_SPECS)}), which needs no data"
    )
    try:
        import datasets
    except ImportError as error:
        raise FileNotFoundError(
            f"no data for task {spec.name!r}: reading the hub needs the package `datasets`; install it, or {remedy}"
        ) from error
    try:
        return datasets.load_dataset(_HUB, spec.name, split=split).to_pandas()
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"no data for task {spec.name!r}: {_HUB} cannot be read from the Hugging Face hub ({error}); {remedy}"
        ) from error


def _checked(frame: pd.DataFrame, spec: TaskSpec, split: str, origin: str) -> pd.DataFrame:
    columns = [*spec.columns, "label"]
    if missing := [column for column in columns if column not in frame.columns]:
        raise ValueError(
            f"{origin} lacks the columns {', '.join(missing)}: it has {', '.join(map(str, frame.columns))}, and task "
            f"{spec.name!r} needs {', '.join(columns)}; rename or replace them"
        )
    if len(frame) != spec.rows[split]:
        raise ValueError(
            f"{origin} has {len(frame):,} rows, but the official {split} split of {spec.title} has "
            f"{spec.rows[split]:,}; use the complete split, results on a subset are not results on {spec.title}"
        )
    for column in spec.columns:
        texts = frame[column]
        if bad := sum(not isinstance(text, str) or not text.strip() for text in texts):
            raise ValueError(f"{origin} has {bad:,} rows without text in column {column!r}; replace it")
    low, high = spec.label_range
    labels = pd.to_numeric(frame["label"], errors="coerce")
    valid = labels.between(low, high) & (spec.is_regression | (labels % 1 == 0))
    if not valid.all():
        found = ", ".join(map(str, frame["label"][~valid].unique()[:3]))
        kind = "numbers" if spec.is_regression else "integers"
        raise ValueError(
            f"{origin} has {(~valid).sum():,} labels such as {found}, but {spec.title} has {kind} from {low:g} to "
            f"{high:g}; -1 marks the hidden labels of a test split, use the {split} split"
        )
    checked = frame[columns].reset_index(drop=True)
    checked["label"] = labels.astype("float64" if spec.is_regression else "int64").to_numpy()
    return checked

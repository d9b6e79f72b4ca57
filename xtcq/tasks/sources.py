"""Finding a task's data, and refusing data that is not what its name says."""

import hashlib

import pandas as pd

from xtcq.tasks.demo import DEMO_SPECS, make_demo_task
from xtcq.tasks.glue import GLUE_SPECS
from xtcq.tasks.reading import data_folder, how_to_get, read_hub, read_parquet
from xtcq.tasks.spec import QuestionSpec, Task, TaskSpec
from xtcq.tasks.squad import DEMO_QUESTIONS, SQUAD_SPECS, load_questions, make_demo_questions

TASKS: tuple[str, ...] = (*GLUE_SPECS, *SQUAD_SPECS, *DEMO_SPECS, DEMO_QUESTIONS.name)

_HUB = "nyu-mll/glue"


def task_spec(name: str) -> TaskSpec:
    """Look up the fixed facts of a task.

    Raises:
        ValueError: If there is no task of this name.
    """
    specs = GLUE_SPECS | SQUAD_SPECS | DEMO_SPECS | {DEMO_QUESTIONS.name: DEMO_QUESTIONS}
    if name not in specs:
        raise ValueError(f"unknown task {name!r}: the tasks are {', '.join(TASKS)}")
    return specs[name]


def load_task(name: str) -> Task:
    """Load a task with its data.

    A demo task is generated. A GLUE task is read from `$XTCQ_DATA/glue/<name>/<split>.parquet` where that folder
    exists, and from `nyu-mll/glue` on the Hugging Face hub otherwise (`HF_HUB_OFFLINE=1` restricts that to the local
    cache); SQuAD likewise, see `xtcq.tasks.squad.load_questions`. Every split must have exactly the official number of
    rows, so that a result under an official name is a result on the official data.

    Raises:
        ValueError: If the task is unknown, or a file is damaged, lacks a column, has another number of rows than the
            official split, or holds empty texts or labels out of range.
        FileNotFoundError: If no source has the data, or a split is missing from the folder.
    """
    spec = task_spec(name)
    if isinstance(spec, QuestionSpec):
        return make_demo_questions() if spec.synthetic else load_questions(spec)
    if spec.synthetic:
        return make_demo_task(name)
    folder = data_folder("glue", name)
    frames = {}
    for split in spec.rows:
        if folder is not None:
            path = folder / f"{split}.parquet"
            frame, origin = read_parquet(path, name, spec.rows), str(path)
        else:
            remedy = how_to_get(_HUB, ("glue", name), spec.rows, DEMO_SPECS)
            frame = read_hub(_HUB, (name,), split, name, remedy)
            origin = f"{_HUB} ({name}, {split}) on the Hugging Face hub"
        frames[split] = _checked(frame, spec, split, origin)
    return Task(spec, frames.pop("train"), frames)


def data_digest(task: Task) -> str:
    """Digest of a task's examples, the same whether they come from a folder or from the hub.

    Args:
        task: As `load_task` returns it.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of all splits, row by row.
    """
    digest = hashlib.sha256()
    for split, frame in {"train": task.train, **task.evaluation}.items():
        digest.update(f"{split}\n{frame.to_json(orient='values')}\n".encode())
    return digest.hexdigest()[:16]


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

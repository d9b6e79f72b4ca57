"""Records: what a finished run measured, one JSON file each, named by the digest of its experiment."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from xtcq.files import find_checkout, parse_json, write_atomically
from xtcq.study.experiment import Experiment, identity
from xtcq.tasks import QuestionSpec, TaskSpec
from xtcq.training.number_format import FORMATS

SCHEMA = 2
# Only written where there is something to say: the others keep their content, byte by byte.
_OPTIONAL = ("micro_batch", "teacher_scores")


class RecordError(ValueError):
    """A Record file that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The measurements of one run.

    Attributes:
        experiment: what was run.
        settings: what else decided the result, see ``Experiment.settings``.
        method: number of the training code's arithmetic, see ``xtcq.training.settings``.
        best, last, history, train_seconds, wall_seconds: see ``xtcq.training.TrainingResult``.
        predictions: likewise; None for the scores alone that `as_taught` tells, and in no file.
        size: ``parameters``, ``nominal_mib``, ``packed_mib``, ``embedding_mb`` of the trained model.
        bitops: sum over the quantized matrices of weight bits x activation bits x weights, per token.
        device: name of the accelerator or of the processor.
        compute: number format of matrix products, ``"fp32"`` or ``"bf16"``; a property of the run, like the device.
        side_by_side: number of runs that shared the device; times are comparable only where it is equal.
        versions: Python and libraries.
        commit: git commit of the code, None outside a checkout.
        data: digest of the task's data, see ``xtcq.tasks.data_digest``.
        exploration: what a run found that learned bit-widths: the report of ``xtcq.AdaQAT``, and as ``average`` the
            mean of Nw * Na over all weights. None for other runs.
        micro_batch: as for ``TrainingResult``; it is only written where it is a number.
        teacher_scores: metrics at ``"best"`` and ``"last"`` of the teacher that it learned from, where that one's
            weights were trained again, on another machine say, and score otherwise than the teacher's Record says. It
            is only written there.
        schema: which fields the file has, and what they mean.
    """

    experiment: Experiment
    best: dict[str, float]
    last: dict[str, float]
    history: list[dict[str, Any]]
    size: dict[str, float]
    bitops: int
    train_seconds: float
    wall_seconds: float
    device: str
    side_by_side: int
    versions: dict[str, str]
    commit: str | None
    settings: dict[str, Any]
    method: int
    predictions: dict[str, dict[str, Any]] | None
    compute: str
    data: str
    exploration: dict[str, Any] | None = None
    micro_batch: int | None = None
    teacher_scores: dict[str, dict[str, float]] | None = None
    schema: int = SCHEMA

    @property
    def digest(self) -> str:
        """Name of the run, and of its file."""
        return identity(self.experiment.to_dict(), self.settings, self.method)

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Entries of the history with the metrics that a best one is chosen from."""
        first = 0 if self.experiment.adaqat is None else 1
        return [entry for entry in self.history if "metrics" in entry and entry["stage"] >= first]

    def to_json(self) -> str:
        """Serialise, one line a field, with a digest over the whole content: a changed number is a changed digest."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {"digest": self.digest, "experiment": self.experiment.to_dict()}
        for name in _OPTIONAL:
            if fields[name] is None:
                del fields[name]
        fields["content"] = content_digest(fields)
        first = ("schema", "digest", "content", "experiment")
        order = (*first, *(name for name in fields if name not in first))
        lines = [f'"{name}": {json.dumps(fields[name], allow_nan=False)}' for name in order]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def as_taught(teacher: Record, student: Record) -> Record:
    """The Record of a teacher, with the scores of the weights that a student learned from.

    It is the teacher's Record itself, unless the student is its own and says that the weights were others: those have
    the scores that the student's Record tells, and no predictions.
    """
    if student.teacher_scores is None or student.experiment.teacher != teacher.experiment:
        return teacher
    best, last = (student.teacher_scores[name] for name in ("best", "last"))
    history = [teacher.evaluations[-1] | {"metrics": metrics} for metrics in (best, last)]
    return dataclasses.replace(teacher, best=best, last=last, history=history, predictions=None)


def content_digest(fields: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a Record's fields, the digest itself left out; all numbers must be finite."""
    content = {name: value for name, value in fields.items() if name != "content"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def records_folder(synthetic: bool = False) -> Path:
    """Where Records lie: ``XTCQ_RECORDS``, else ``book/records`` of the checkout around the working directory.

    Those of tasks that the project generates (``synthetic``) measure nothing that is published, and lie among the runs
    unless ``XTCQ_RECORDS`` says where. Outside a checkout it is ``records`` in the working directory.
    """
    if folder := os.environ.get("XTCQ_RECORDS"):
        return Path(folder)
    if synthetic:
        return runs_folder() / "records"
    root = find_checkout()
    return root / "book" / "records" if root else Path.cwd() / "records"


def runs_folder() -> Path:
    """Where checkpoints and trained students lie: ``XTCQ_RUNS``, else ``runs`` of the checkout or working directory.

    Nothing in it is published, and all of it can be made again.
    """
    return Path(os.environ.get("XTCQ_RUNS") or (find_checkout() or Path.cwd()) / "runs")


def record_path(experiment: Experiment) -> Path:
    """The file that holds, or will hold, the Record of an experiment."""
    return records_folder(experiment.spec.synthetic) / f"{experiment.digest}.json"


def save_record(record: Record) -> Path:
    """Write a Record under a temporary name and rename it; where that fails, nothing half-written is left."""
    write_atomically(path := stored_in(record), record.to_json())
    return path


def load_record(path: Path) -> Record:
    """Read and check a Record that ``save_record`` wrote.

    Raises:
        RecordError: if the file is not JSON, of another schema, incomplete, changed since it was written, or at odds
            with itself.
    """
    return read_record(path.read_bytes, path, f"Delete {path} and run the experiment again.")


def read_record(read: Callable[[], bytes], path: Path, again: str) -> Record:
    """Read and check a Record, wherever it is; errors are those of `load_record`.

    Args:
        read: returns the content.
        path: what to call it.
        again: the remedy.
    """
    fields = _read(read, path, again)
    if type(schema := fields.get("schema")) is not int or schema != SCHEMA:
        raise RecordError(f"{path} has schema {schema!r}, and this version reads schema {SCHEMA}. {again}")
    names = [field.name for field in dataclasses.fields(Record) if field.name not in _OPTIONAL or field.name in fields]
    if wrong := {"digest", "content", *names} ^ set(fields):
        raise RecordError(f"{path} lacks or has beyond a Record's fields: {', '.join(sorted(wrong))}. {again}")
    try:
        intact = content_digest(fields) == fields["content"]
        values = {name: fields[name] for name in names}
        record = Record(**values | {"experiment": Experiment.from_dict(fields["experiment"])})
        _check(record)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} does not hold the values of a Record ({error}). {again}") from error
    if not intact:
        raise RecordError(f"{path} was changed after it was written: its content has another digest. {again}")
    if not fields["digest"] == record.digest == path.stem:
        raise RecordError(
            f"{path} says digest {fields['digest']}, but its experiment has {record.digest}: it was changed by hand "
            f"or renamed. {again}"
        )
    return record


def stored_in(record: Record) -> Path:
    """The file that holds, or will hold, a Record, whatever method it is of."""
    return records_folder(record.experiment.spec.synthetic) / f"{record.digest}.json"


def _read(read: Callable[[], bytes], path: Path, remedy: str) -> dict[str, Any]:
    try:
        fields = parse_json(read().decode())
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path} is no Record ({error!r}). {remedy}") from error
    if not isinstance(fields, dict):
        raise RecordError(f"{path} is no Record (it holds {type(fields).__name__}). {remedy}")
    return fields


# Types of a Record's other values, and the least that a number may be.
_VALUES: dict[str, tuple[Any, float | None]] = {
    "size": (dict, None),
    "versions": (dict, None),
    "settings": (dict, None),
    "exploration": (dict | None, None),
    "device": (str, None),
    "data": (str, None),
    "commit": (str | None, None),
    "bitops": (int, 0),
    "side_by_side": (int, 1),
    "micro_batch": (int | None, 1),
    "teacher_scores": (dict | None, None),
    "method": (int, 2),
    "train_seconds": (int | float, 0),
    "wall_seconds": (int | float, 0),
}
# The same of an entry of the history, and of the sizes.
_POINT = {"stage": (int, 0), "stage_name": (str, None), "step": (int, 1)} | dict.fromkeys(
    ("epoch", "train_seconds", "wall_seconds"), (int | float, 0)
)
_SIZES = dict.fromkeys(("parameters", "nominal_mib", "packed_mib", "embedding_mb"), (int | float, 0))


def _check_values(values: Mapping[str, Any], expected: Mapping[str, tuple[Any, float | None]], where: str = "") -> None:
    for name, (of, least) in expected.items():
        value = values[name]
        if not isinstance(value, of) or isinstance(value, bool) or (None not in (least, value) and value < least):
            wanted = " or ".join(kind.__name__ for kind in get_args(of) or (of,))
            at_least = "" if least is None else f" of at least {least}"
            raise ValueError(f"{where}{name} is {value!r}, expected {wanted}{at_least}")


def _fits(values: Any, spec: TaskSpec) -> bool:
    """Whether predictions are of the kind that a task asks for, see ``xtcq.tasks.EncodedDataset.evaluate``."""
    if isinstance(spec, QuestionSpec) or spec.is_regression:
        kind = str if isinstance(spec, QuestionSpec) else float
        return isinstance(values, list) and all(type(value) is kind for value in values)
    return isinstance(values, str) and set(values) <= {f"{label:x}" for label in range(spec.num_labels)}


def _check_scores(name: str, values: dict[str, float], metrics: set[str]) -> None:
    if set(values) != metrics or not all(type(v) in (int, float) and -100 <= v <= 100 for v in values.values()):
        raise ValueError(f"{name} is {values}, expected {', '.join(sorted(metrics))} in per cent")


def _check(record: Record) -> None:
    """Hold a Record against itself; a ValueError names what does not fit."""
    spec = record.experiment.spec
    if record.predictions is None:
        raise ValueError("predictions are null, expected those at best and last")
    metrics = {name for entry in record.evaluations for name in entry["metrics"]}
    for name in ("best", "last"):
        _check_scores(name, getattr(record, name), metrics)
        if record.teacher_scores is not None:
            _check_scores(f"the teacher's {name}", record.teacher_scores[name], metrics)
        made = record.predictions[name]
        lengths = {split: len(values) for split, values in made.items()}
        if lengths != {split: spec.rows[split] for split in spec.evaluation_splits}:
            raise ValueError(f"predictions at {name} are of {lengths} examples, and {spec.title} has {dict(spec.rows)}")
        if not all(_fits(values, spec) for values in made.values()):
            raise ValueError(f"predictions at {name} are no answers to {spec.title}")
    scores = [entry["metrics"][spec.primary_metric] for entry in record.evaluations]
    if record.last != record.evaluations[-1]["metrics"]:
        raise ValueError(f"last is {record.last}, and the history ends with {record.evaluations[-1]['metrics']}")
    if record.best != record.evaluations[scores.index(max(scores))]["metrics"]:
        raise ValueError(f"best is {record.best}, and the best evaluation of the history scores {max(scores)}")
    _check_values(vars(record), _VALUES)
    _check_values(record.size, _SIZES, "size: ")
    if record.exploration is not None:
        _check_values(record.exploration, {"average": (int | float, 0)}, "exploration: ")
    for number, entry in enumerate(record.history):
        _check_values(entry, _POINT, f"entry {number} of the history: ")
        if "metrics" in entry:
            _check_scores(f"entry {number} of the history", entry["metrics"], metrics)
    if record.compute not in FORMATS:
        raise ValueError(f"compute is {record.compute!r}, expected one of {', '.join(FORMATS)}")

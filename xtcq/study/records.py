"""Records: what a finished run measured, one JSON file each, named by the digest of its experiment."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from xtcq.files import find_checkout, write_atomically
from xtcq.study.experiment import Experiment
from xtcq.tasks import task_spec

SCHEMA = 1


class RecordError(ValueError):
    """A Record file that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The measurements of one run.

    Attributes:
        experiment: what was run.
        best: metrics in per cent of the best evaluation, chosen on the development set.
        last: metrics in per cent at the end of training.
        history: points over time, see ``xtcq.training.TrainingResult``.
        size: ``parameters``, ``nominal_mib``, ``packed_mib``, ``embedding_mb`` of the trained model.
        bitops: sum over the quantized matrices of weight bits x activation bits x weights, per token.
        train_seconds: training steps alone.
        wall_seconds: from the first batch to the last evaluation, checkpoints between them included. Records of before
            2026-11-21 have the time since the run was begun or resumed, loading and what it began with included.
        device: name of the accelerator or of the processor.
        side_by_side: number of runs that shared the device; times are comparable only where it is equal.
        versions: Python and libraries.
        commit: git commit of the code, None outside a checkout.
        exploration: what a run found that gave every layer its own widths, and what that cost: the report of
            ``xtcq.adaqat.AdaQAT`` or ``xtcq.allocation.FracBits``, or that of ``xtcq.allocation.choose_widths``;
            ``average`` is the mean of Nw * Na over all weights. None for other runs.
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
    exploration: dict[str, Any] | None = None

    def to_json(self) -> str:
        """Serialise, schema version and digest first, one line a field: a change of one field is one line of a diff."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.exploration is None:
            del fields["exploration"]
        fields |= {"schema": SCHEMA, "digest": self.experiment.digest, "experiment": self.experiment.to_dict()}
        first = ("schema", "digest", "experiment")
        lines = [f'"{name}": {json.dumps(fields[name])}' for name in (*first, *(n for n in fields if n not in first))]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def records_folder() -> Path:
    """Where Records lie: ``XTCQ_RECORDS``, else ``book/records`` of the checkout around the working directory.

    Returns:
        The folder; ``records`` in the working directory outside a checkout. It need not exist yet.
    """
    if folder := os.environ.get("XTCQ_RECORDS"):
        return Path(folder)
    root = find_checkout()
    return root / "book" / "records" if root else Path.cwd() / "records"


def runs_folder() -> Path:
    """Where checkpoints and trained students lie: ``XTCQ_RUNS``, else ``runs`` of the checkout or working directory.

    Returns:
        The folder; it need not exist yet. Nothing in it is published, and all of it can be made again.
    """
    return Path(os.environ.get("XTCQ_RUNS") or (find_checkout() or Path.cwd()) / "runs")


def record_path(experiment: Experiment) -> Path:
    """The file that holds, or will hold, the Record of an experiment."""
    return records_folder() / f"{experiment.digest}.json"


def save_record(record: Record) -> Path:
    """Write a Record under a temporary name and rename it.

    Raises:
        OSError: if it cannot be written; nothing half-written is left.
    """
    path = record_path(record.experiment)
    write_atomically(path, record.to_json())
    return path


def load_record(path: Path) -> Record:
    """Read and check one Record.

    Args:
        path: a file that ``save_record`` wrote.

    Returns:
        The Record.

    Raises:
        RecordError: if the file is not JSON, of another schema, incomplete, or does not belong to its own digest.
    """
    again = f"Delete {path} and run the experiment again."
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        schema, digest = fields.pop("schema"), fields.pop("digest")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RecordError(f"{path} is no Record ({error!r}). {again}") from error
    if schema != SCHEMA:
        raise RecordError(f"{path} has schema {schema}, and this version reads schema {SCHEMA}. {again}")
    try:
        record = Record(**fields | {"experiment": Experiment.from_dict(fields["experiment"])})
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{path} does not hold the fields of a Record ({error}). {again}") from error
    if not digest == record.experiment.digest == path.stem:
        raise RecordError(
            f"{path} says digest {digest}, but its experiment has {record.experiment.digest}: it was changed by hand "
            f"or renamed. {again}"
        )
    return record


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a Record: the experiment's fields, its scores, all metrics, sizes and times.

    Args:
        records: any Records.

    Returns:
        A frame with the primary metric of each task as ``metric``, its values as ``score`` (best) and ``last``, every
        metric as ``best_*`` and ``last_*``, and a column ``record`` that holds the Record itself.
    """
    rows = []
    for record in records:
        experiment = {f.name: getattr(record.experiment, f.name) for f in dataclasses.fields(Experiment)}
        metric = task_spec(record.experiment.task).primary_metric
        rows.append(
            experiment
            | {"metric": metric, "score": record.best[metric], "last": record.last[metric]}
            | {f"best_{name}": value for name, value in record.best.items()}
            | {f"last_{name}": value for name, value in record.last.items()}
            | record.size
            | {name: getattr(record, name) for name in ("bitops", "train_seconds", "wall_seconds", "device")}
            | {"record": record}
        )
    if not rows:
        fields = [field.name for field in dataclasses.fields(Experiment)]
        return pd.DataFrame(columns=[*fields, "metric", "score", "last", "record"])
    return pd.DataFrame(rows)


def history_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row an evaluation, over all given Records.

    Args:
        records: any Records.

    Returns:
        The experiment's ``task``, ``precision``, ``stages``, ``learning_rate``, ``epochs`` (of the plan) and ``seed``;
        ``stage``, ``stage_name``, ``step``, ``epoch`` and ``train_seconds`` of the point; one column a metric, and the
        task's primary one again as ``score``; the Record itself as ``record``.
    """
    chosen = ("task", "precision", "stages", "learning_rate", "epochs", "seed")
    rows = []
    for record in records:
        experiment = {name: getattr(record.experiment, name) for name in chosen}
        metric = task_spec(record.experiment.task).primary_metric
        for entry in record.history:
            if "metrics" in entry:
                point = {name: value for name, value in entry.items() if name != "metrics"}
                found = {"score": entry["metrics"][metric], "record": record}
                rows.append(experiment | point | entry["metrics"] | found)
    return pd.DataFrame(rows)

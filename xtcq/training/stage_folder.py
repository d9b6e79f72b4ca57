"""What a stage leaves on disk: checkpoints while it runs, then its weights, its history and its predictions."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_model

from xtcq.distillation import Stage
from xtcq.files import saving, sha256, write_atomically

if TYPE_CHECKING:
    from xtcq.training.trainer import DistillationTrainer

logger = logging.getLogger(__name__)

# In every line of the log: seconds of training steps alone, and with the evaluations and checkpoints between them.
CLOCKS = ("train_seconds", "wall_seconds")
_SEAL = "checksums.json"
# A task's evaluation splits; MNLI has the latter two.
EVALUATION_SPLITS = ("validation", "validation_matched", "validation_mismatched")
_METRIC = re.compile(r"eval_validation(_matched|_mismatched)?_(.+)")
_SPEEDS = ("loss", "runtime", "samples_per_second", "steps_per_second")


def newest_intact_checkpoint(folder: Path) -> str | None:
    """Find the checkpoint to go on from, if any; a run that was killed while saving leaves one that is cut off.

    Each that is passed over is named in a warning.
    """
    for checkpoint in sorted(_checkpoints(folder), key=lambda path: int(path.name.split("-")[1]), reverse=True):
        damage = _damage(checkpoint)
        if damage is None:
            return str(checkpoint)
        logger.warning("checkpoint %s is damaged (%s): going on from the one before it", checkpoint, damage)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir() and path.name.split("-")[1].isdecimal()]


def seal(folder: Path, files: Iterable[Path]) -> None:
    """Write the SHA-256 of files that are complete: what is read later without is neither whole nor unchanged."""
    write_atomically(folder / _SEAL, json.dumps({str(path.relative_to(folder)): sha256(path) for path in files}))


def _damage(folder: Path) -> str | None:
    """What is wrong with the files that a folder's seal names, if anything is."""
    try:
        for name, stated in json.loads((folder / _SEAL).read_text()).items():
            if sha256(folder / name) != stated:
                return f"{name} was changed"
    except (OSError, ValueError, AttributeError) as error:
        return repr(error)
    return None


def predictions_path(folder: Path, step: int) -> Path:
    """The folder of the predictions after a step of a stage, one file a split."""
    return folder / "predictions" / str(step)


def is_finished(folder: Path) -> bool:
    """Whether a stage needs no further step: its seal is written last. One that was damaged since is trained again."""
    if not (folder / _SEAL).exists():
        return False
    if damage := _damage(folder):
        logger.warning("%s is damaged (%s): the stage is trained again", folder, damage)
    return damage is None


def has_begun(folder: Path) -> bool:
    """Whether a stage has left something to go on from."""
    return is_finished(folder) or bool(_checkpoints(folder))


def finish_stage(trainer: DistillationTrainer, folder: Path) -> None:
    """Keep the last and the best weights, history and predictions, sealed as complete; drop the checkpoints.

    Raises:
        OSError: if there is no space; the checkpoints stay.
    """
    student = trainer.model.cpu()
    trainer.teacher = None  # and what it remembers: the trainer itself waits for the garbage collector
    with saving(f"the checkpoints in {folder} are kept"):
        save_model(student, str(folder / "last.safetensors"))
        if trainer.controller is not None:
            # No evaluation of an exploration is its best: the widths are those of its end.
            report = trainer.controller.report()
            write_atomically(folder / "exploration.json", json.dumps(report))
            logger.info(
                "exploration ended (%s) after %d steps: %.2f weight bits, %.2f activation bits on average",
                *(report[name] for name in ("ended", "steps", "mean_weights", "mean_activations")),
            )
        elif trainer.state.best_model_checkpoint:  # a short stage may see no evaluation
            best = Path(trainer.state.best_model_checkpoint).name  # the folder may have been moved since
            shutil.copyfile(folder / best / "model.safetensors", folder / "best.safetensors")
        write_atomically(folder / "history.json", json.dumps(trainer.state.log_history))
        kept = [*folder.glob("*.safetensors"), folder / "history.json", *folder.glob("exploration.json")]
        seal(folder, [*kept, *predictions_path(folder, 0).parent.rglob("*.json")])
    for checkpoint in _checkpoints(folder):
        shutil.rmtree(checkpoint)


def read_predictions(folder: Path, step: int) -> dict[str, Any]:
    """By split, what the student predicted after a step of a stage."""
    files = sorted(predictions_path(folder, step).glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files}


def read_history(folder: Path, index: int, stage: Stage, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn the log of the stage ``index`` of a plan into entries of its history, see ``TrainingResult``.

    Steps, epochs and seconds go on from the end of the entries ``before``.
    """
    offset = {name: before[-1][name] if before else 0 for name in ("step", "epoch", *CLOCKS)}
    entries: dict[tuple[int, bool], dict[str, Any]] = {}
    for line in json.loads((folder / "history.json").read_text()):
        evaluated = any(name.startswith("eval_") for name in line)
        if not evaluated and "loss" not in line:
            continue  # the Trainer's closing summary
        key = (line["step"], evaluated)
        entry = entries.setdefault(
            key, {"stage": index, "stage_name": stage.name} | {name: line[name] + offset[name] for name in offset}
        )
        if evaluated:
            entry.setdefault("metrics", {}).update(metrics_of(line))
        else:
            entry |= {k: v for k, v in line.items() if k.startswith("loss") or k == "learning_rate"}
    return list(entries.values())


def metrics_of(line: dict[str, Any]) -> dict[str, float]:
    """Metrics of one evaluation line; a second split's are told apart by its suffix, as in ``accuracy_mm``."""
    found = ((_METRIC.fullmatch(name), value) for name, value in line.items())
    kept = ((match, value) for match, value in found if match and match[2] not in _SPEEDS)
    return {match[2] + "_mm" * (match[1] == "_mismatched"): value for match, value in kept}

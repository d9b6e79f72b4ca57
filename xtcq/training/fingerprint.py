"""What decides the result of a training, kept beside what it leaves on disk: no other training goes on from that."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.distillation import LayerMap, Stage
from xtcq.files import write_atomically
from xtcq.quantization import quant_config, quantization_map
from xtcq.tasks import Task, data_digest
from xtcq.training.settings import METHOD, TrainSettings
from xtcq.training.stage_folder import has_begun

FILE = "fingerprint.json"
# What the sums over a tensor may differ by, relative to its magnitudes: they follow the number of threads a little, and
# so do weights that a recipe computes from such sums.
_ROUNDING = 1e-5
_CONFIG = (
    *("hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "layer_norm_eps"),
    "num_attention_heads",
)
# The rest of a task's facts follows from its data, or decides nothing of a training.
_SPEC = ("columns", "num_labels", "max_length", "metrics", "stride", "unanswerable")


def fingerprint(
    student: PreTrainedModel,
    stages: list[Stage],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    settings: TrainSettings,
    teacher: PreTrainedModel | None,
    layer_map: LayerMap | None,
) -> dict[str, Any]:
    """Everything that decides what ``train`` returns, as JSON-able values; arguments are those of ``train``.

    Returns:
        Settings by value; texts, vocabulary and quantization by digest; of weights, the sum of each tensor and that of
        its magnitudes.
    """
    chosen = dataclasses.asdict(settings)
    del chosen["side_by_side"]  # how much of a teacher is remembered, which may be another when a run goes on
    spec = {name: getattr(task.spec, name) for name in _SPEC if hasattr(task.spec, name)}
    vocabulary = sorted(tokenizer.get_vocab().items())
    facts = {
        "method": METHOD,
        "settings": chosen,
        "plan": [stage.name for stage in stages],
        "stages": {index: dataclasses.asdict(stage) for index, stage in enumerate(stages)},
        "task": spec,
        "data": data_digest(task),
        "vocabulary": _digest(vocabulary),
        "tokenizer": _digest(_tokenizer(tokenizer)),
        "student": _model(student),
        "teacher": None if teacher is None else _model(teacher),
        "layer map": layer_map and dataclasses.asdict(layer_map),
    }
    return json.loads(json.dumps(facts))


def _tokenizer(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """What makes tokens of a text besides the vocabulary, such as whether capitals count."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    steps = {} if backend is None else json.loads(backend.to_str())
    # The rest of it is the vocabulary, and what the last call asked for.
    return [tokenizer.truncation_side, *(steps.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor"))]


def _model(model: PreTrainedModel) -> dict[str, Any]:
    config = {name: getattr(model.config, name, None) for name in _CONFIG}
    if model.config.problem_type:  # the model itself says it with its first labels
        config["problem_type"] = model.config.problem_type
    return {
        "class": type(model).__name__,
        "config": config,
        "precision": str(quant_config(model).precision),
        "quantization": _digest(quantization_map(model)),
        "trained": _digest([name for name, parameter in model.named_parameters() if parameter.requires_grad]),
        "weights": {name: _sums(value) for name, value in model.state_dict().items()},
    }


def _sums(weight: Tensor) -> list[float]:
    exact = weight.detach().cpu().double()  # of one tensor at a time: a whole model would be twice as large again
    return [exact.sum().item(), exact.abs().sum().item()]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def claim(folder: Path, facts: dict[str, Any]) -> bool:
    """Say of a stage's folder which training it belongs to, or refuse the folder of another one.

    A folder without anything to go on from is anyone's.

    Args:
        folder: of a stage; made if needed.
        facts: see `fingerprint`.

    Returns:
        Whether there is something to go on from.

    Raises:
        ValueError: it holds a stage of another training; the message names what differs, and the remedy.
        OSError: it cannot be written.
    """
    file = folder / FILE
    if not has_begun(folder):
        write_atomically(file, json.dumps(facts))
        return False
    try:
        other = _differences(json.loads(file.read_text(encoding="utf-8")), facts)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        other = [f"{FILE} is missing or damaged ({error})"]
    if other:
        more = f", and {len(other) - 4} more" if len(other) > 4 else ""
        raise ValueError(
            f"{folder} holds a stage of another training: {'; '.join(other[:4])}{more}. Give another folder, or "
            f"delete {folder.parent} to train anew"
        )
    return True


def _differences(kept: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """What differs, in words; a fact that one of the two lacks is one of another version, and counts for nothing."""
    found = []
    for name, one in kept.items():
        if name not in now:
            continue
        other, where = now[name], f"{path}{name}"
        if name == "weights":
            names = [tensor for tensor in {**one, **other} if not _alike(one.get(tensor), other.get(tensor))]
            found += [f"{where} at the beginning are others ({names[0]}, of {len(names)} tensors)"] if names else []
        elif isinstance(one, dict) and isinstance(other, dict):
            found += _differences(one, other, f"{where}.")
        elif one != other:
            found.append(f"{where} was {_short(one)} and is {_short(other)}")
    return found


def _alike(one: list[float] | None, other: list[float] | None) -> bool:
    if one is None or other is None:
        return False
    slack = _ROUNDING * max(one[1], other[1])
    return all(abs(a - b) <= slack for a, b in zip(one, other, strict=True))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"a {value['class']}" if "class" in value else "given"
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

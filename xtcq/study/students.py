"""The student of an experiment: built before its training, and loaded after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import transformers
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.distillation import reduce_layers
from xtcq.encoder import load_encoder
from xtcq.files import sha256, write_atomically
from xtcq.quantization import quantize, set_widths
from xtcq.study.experiment import Experiment
from xtcq.study.records import load_record, record_path, runs_folder

_SCORES = "scores.json"
_DIGEST = "sha256"  # in that file: of the weights


def weights_path(experiment: Experiment) -> Path:
    """The file that holds, or will hold, the trained weights of an experiment on this machine."""
    return runs_folder() / experiment.digest / "student.safetensors"


def is_trained(experiment: Experiment) -> bool:
    """Whether the Record of an experiment and its weights are on this machine, so that `load_student` finds them."""
    return weights_path(experiment).exists() and record_path(experiment).exists()


@contextmanager
def readable(weights: Path) -> Iterator[None]:
    """Say of a file of weights that cannot be read in this block which one it is, and how to have it again.

    Raises:
        ValueError: it cannot be read, or is not the file whose scores are beside it.
    """
    try:
        with suppress(OSError, ValueError, AttributeError):  # scores that are damaged are named by scores_here
            stated = json.loads(weights.with_name(_SCORES).read_text(encoding="utf-8")).get(_DIGEST)
            if stated and stated != sha256(weights):
                raise RuntimeError("its SHA-256 is not the one that it was written with")
        yield
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"{weights} is damaged or another model's ({str(error).partition(chr(10))[0]}): delete it, and the next "
            "run trains it again"
        ) from error


def keep_scores(experiment: Experiment, scores: dict[str, dict[str, float]], weights: Path) -> None:
    """Say beside the weights of an experiment what they score at ``"best"`` and ``"last"``, and which file they are."""
    facts = scores | {_DIGEST: sha256(weights)}
    write_atomically(weights_path(experiment).with_name(_SCORES), json.dumps(facts))


def scores_here(experiment: Experiment) -> dict[str, dict[str, float]]:
    """What the weights of an experiment on this machine score at ``"best"`` and ``"last"``, in per cent.

    Weights that are trained again leave the experiment's Record as it is, and on another machine they score otherwise.
    Where nothing else is known it is what the Record says.

    Raises:
        RecordError: the Record cannot be used.
        ValueError: the file beside the weights is damaged.
    """
    path = weights_path(experiment).with_name(_SCORES)
    record = load_record(record_path(experiment))
    said = {"best": record.best, "last": record.last}
    if not path.exists():
        return said
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        return {name: {metric: float(scores[name][metric]) for metric in said[name]} for name in said}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} does not say what the weights beside it score ({error!r}): delete {path.parent}, and they are "
            "trained again"
        ) from error


def load_student(experiment: Experiment) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the trained model of an experiment, in evaluation mode, and its tokenizer, which cuts where training did.

    The weights are those of its best evaluation; the encoder's pre-trained weights are not needed.

    Raises:
        FileNotFoundError: it was not trained on this machine; the message says how to.
        ValueError: the file of the weights is damaged or another model's.
    """
    weights = weights_path(experiment)
    if not is_trained(experiment):
        missing = weights if record_path(experiment).exists() else record_path(experiment)
        raise FileNotFoundError(
            f"{experiment} ({experiment.digest}) is not trained here, {missing} is missing: "
            "xtcq.study.trained_student(experiment) trains it first, or python -m xtcq run --weights FILE with its "
            "Record, or the experiment as JSON"
        )
    model, tokenizer = build_student(experiment, pretrained=False)
    with readable(weights):
        load_model(model, weights)
    # What it was trained on and no more: a packed copy cuts texts there too.
    tokenizer.model_max_length = experiment.spec.max_length
    return model.eval(), tokenizer


def build_student(
    experiment: Experiment,
    teacher: PreTrainedModel | None = None,
    start: dict[str, Tensor] | None = None,
    pretrained: bool = True,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The student before its training, and its tokenizer: reduced, replaced, quantized.

    It begins with the weights of ``start``, else of its teacher, else of the encoder as published. Unless it is
    ``pretrained``, what is neither of the first two is random: for weights that are loaded later.

    Raises:
        ValueError: the weights to begin with lack some of the student's, or a matrix cannot have the width that its
            allocation says.
    """
    # The head is new where there is no teacher: its values follow the seed.
    transformers.set_seed(experiment.seed)
    spec = experiment.spec
    model, tokenizer = load_encoder(experiment.model, spec.num_labels, spec.head, pretrained=pretrained)
    if teacher is not None and experiment.cut_from_teacher:
        model = reduce_layers(teacher, experiment.layers or range(teacher.config.num_hidden_layers))
    elif experiment.kept:
        model = reduce_layers(model, experiment.kept)
    if start:
        # Latent weights before quantization, since a recipe may compute from them.
        missing = model.load_state_dict(start, strict=False).missing_keys
        if missing:
            raise ValueError(f"the run to begin with lacks {len(missing)} weights of this student, {missing[0]} first.")
    if experiment.quantized:
        quantize(model, experiment.quantization)
        if start:
            # What the quantizers had learned, and low-rank terms; the bit-widths are this experiment's own.
            learned = {name: value for name, value in start.items() if not name.endswith(".width")}
            model.load_state_dict(learned, strict=False)
        set_widths(model, experiment.allocation or {})
    model.config.num_texts = len(spec.columns)
    return model, tokenizer

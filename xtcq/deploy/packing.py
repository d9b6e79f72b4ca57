"""Models on disk at the size that their bits promise: `save_packed` and `load_packed`."""

from __future__ import annotations

import copy
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.deploy.card import ModelCard, render_card
from xtcq.deploy.folder import whole_folder
from xtcq.deploy.manifest import CONFIG_FILE, MAP_FILE, WEIGHTS_FILE, Manifest, PackedModelError, describe_file
from xtcq.deploy.rebuild import MODELS, REST_DTYPES, code_formats, implied_state, rebuild
from xtcq.quantization import FrozenEmbedding, FrozenLinear, QuantEmbedding, QuantLinear, quantization_map

CARD_FILE = "README.md"


def save_packed(
    model: PreTrainedModel,
    folder: str | Path,
    *,
    rest: str = "fp32",
    tokenizer: PreTrainedTokenizerBase | None = None,
    card: ModelCard | None = None,
) -> Path:
    """Write a frozen model as a folder that `load_packed` reads; the book's page on the packed format describes it.

    The folder holds `packed.safetensors`, `config.json`, `quantization_map.json`, the tokenizer's files if one is
    given, and a model card, `README.md`. It appears whole or not at all. A packed model of that name is replaced.

    Args:
        model: a BertModel, BertForSequenceClassification or BertForQuestionAnswering in float32 after `freeze`.
        folder: new, empty, or an earlier packed model; or a symbolic link to one, which stays a link.
        rest: "fp32" keeps every output to the bit. "fp16" halves scales, steps, biases, LayerNorm, low-rank terms and
            whatever else is not packed: each such value moves by at most one part in 2048 (or by 3e-8, if that is
            more), and is turned back into float32 on loading.
        tokenizer: saved along.
        card: what the model card shall say beside what the model says itself.

    Returns:
        The folder.

    Raises:
        ValueError: rest unknown; a model that is of another class, not quantized, not frozen, not in float32, has an
            input quantizer that never saw data, or holds values that are not finite or too large for fp16.
        FileExistsError: the folder holds something else.
        OSError: it cannot be written.
    """
    folder = Path(folder).absolute()
    if rest not in REST_DTYPES:
        raise ValueError(f"rest is {rest!r}, expected 'fp32' or 'fp16'")
    _check_model(model)
    tensors = _packed(model, REST_DTYPES[rest])
    with whole_folder(folder, lambda: _check_target(folder)) as temporary:
        safetensors.torch.save_file(tensors, temporary / WEIGHTS_FILE)
        config = copy.deepcopy(model.config)
        config.architectures = [type(model).__name__]
        (temporary / CONFIG_FILE).write_text(config.to_json_string(), encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
        manifest = Manifest(
            precision=str(model.quant_config.precision),
            recipe=model.quant_config.recipe,
            lora_rank=model.quant_config.lora_rank,
            rest=rest,
            files={path.name: describe_file(path) for path in sorted(temporary.iterdir())},
            modules=quantization_map(model),
        )
        (temporary / MAP_FILE).write_text(manifest.to_json(), encoding="utf-8")
        file_bytes = manifest.files[WEIGHTS_FILE]["bytes"]
        text = render_card(card or ModelCard(), model, rest, file_bytes, tokenizer is not None)
        (temporary / CARD_FILE).write_text(text, encoding="utf-8")
    return folder


def load_packed(folder: str | Path) -> PreTrainedModel:
    """Read a model that `save_packed` wrote.

    Every file that the map lists is checked against its SHA-256, the tokenizer's too; nothing is unpickled, no code of
    the folder is run. The tokenizer is had by `AutoTokenizer.from_pretrained(folder)`.

    Args:
        folder: where it is; a snapshot of a Hugging Face repository will do.

    Returns:
        The frozen model, on the CPU, in float32 and evaluation mode. Its codes take one byte each in memory.

    Raises:
        FileNotFoundError: the folder, its map or a file that the map lists is missing.
        PackedModelError: a file is truncated, changed, of another version or format, or the files do not fit together.
    """
    folder = Path(folder).absolute()
    manifest = Manifest.read(folder)
    names = dict.fromkeys((*manifest.files, CONFIG_FILE, WEIGHTS_FILE))
    content = {name: manifest.read_file(folder, name) for name in names}
    try:
        tensors = safetensors.torch.load(content[WEIGHTS_FILE])
    except SafetensorError as error:
        raise PackedModelError(
            f"{folder / WEIGHTS_FILE} is not a safetensors file ({error}), and no other format is read: pack the "
            "model again"
        ) from error
    return rebuild(content[CONFIG_FILE], manifest, tensors)


def _check_model(model: PreTrainedModel) -> None:
    kind = type(model).__name__
    if kind not in MODELS:
        raise ValueError(f"{kind} cannot be packed: use one of {', '.join(MODELS)}")
    if not quantization_map(model):
        raise ValueError(f"{kind} is not quantized: call quantize(model, config) and freeze(model) first")
    for name, module in model.named_modules():
        unfrozen = isinstance(module, QuantLinear) and module.weight_quantizer is not None
        if unfrozen or isinstance(module, QuantEmbedding):
            raise ValueError(f"{kind} is not frozen, {name} holds floating-point weights: call freeze(model) first")
        dtypes = {tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()}
        if isinstance(module, (FrozenLinear, FrozenEmbedding)):
            dtypes.add(module.dtype)
        if wrong := dtypes - {torch.float32}:
            raise ValueError(
                f"{name or kind} holds {wrong.pop()}, expected torch.float32: call model.float() before quantize, and "
                "choose the width on disk with rest"
            )
    for key, value in model.state_dict().items():
        if key.endswith(".initialized") and not value:
            raise ValueError(
                f"{key.rpartition('.')[0]} has no step size yet, it is set by the first batch: run the model once"
            )


def _packed(model: PreTrainedModel, rest: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of the file, by state-dict key."""
    formats, implied = code_formats(model), implied_state(model)
    tensors = {}
    for key, value in model.state_dict().items():
        if key in implied:
            continue
        if key not in formats:
            tensors[key] = _narrowed(key, value.cpu(), rest)
            continue
        try:
            tensors[key] = formats[key].pack(value.flatten())
        except ValueError as error:
            raise ValueError(f"{key}: {error}; freeze the model again") from error
    return tensors


def _narrowed(key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    module, _, name = key.rpartition(".")
    if not torch.isfinite(value).all():
        raise ValueError(f"{module}: '{name}' holds NaN or infinity: go back to an earlier checkpoint")
    narrowed = value.to(dtype).contiguous()
    if not torch.isfinite(narrowed).all():
        raise ValueError(
            f"{module}: '{name}' holds {value.abs().max():g}, and fp16 ends at {torch.finfo(dtype).max:g}: use "
            "rest='fp32'"
        )
    return narrowed


def _check_target(folder: Path) -> None:
    """Refuse to replace anything but a packed model."""
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    try:
        known = {*Manifest.read(folder).files, MAP_FILE, CARD_FILE}
    except (FileNotFoundError, PackedModelError):
        known = set()
    if foreign := sorted(found - known):
        raise FileExistsError(
            f"{folder} exists and {foreign[0]} in it belongs to no packed model: give another folder, or remove it"
        )

"""Models on disk at the size that their bits promise: ``save_packed`` and ``load_packed``."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoTokenizer, BertForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from xtcq.checks import check_choice
from xtcq.files import check_replaceable, whole_folder
from xtcq.outputs import check_names, problem_type
from xtcq.packing.bits import pack_codes, unpack_codes
from xtcq.packing.card import ModelCard, render_card
from xtcq.packing.manifest import CONFIG_FILE, MAP_FILE, WEIGHTS_FILE, Manifest, PackedModelError, describe_file
from xtcq.packing.skeleton import skeleton
from xtcq.preflight import check_integer_graph, check_labels, check_model, check_packable, check_tokenizer
from xtcq.quantization import (
    CodeFormat,
    LSQQuantizer,
    QuantizedLayer,
    check_frozen,
    check_unchanged,
    quant_config,
    quantization_map,
)
from xtcq.quantization.cost import REST_DTYPES

CARD_FILE = "README.md"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt")
# Attribute of a loaded model: the other files of its folder, where there are any: the tokenizer's.
_BESIDE = "_xtcq__files_beside"


def save_packed(
    model: PreTrainedModel,
    folder: str | Path,
    *,
    rest: str = "fp32",
    tokenizer: PreTrainedTokenizerBase | None = None,
    card: ModelCard | None = None,
) -> Path:
    """Write a frozen model as a folder that ``load_packed`` reads; the book's page on the format describes it.

    The folder holds ``packed.safetensors``, ``config.json``, ``quantization_map.json``, the tokenizer's files if one is
    given, and a model card, ``README.md``. It appears whole or not at all. A packed model of that name is replaced.

    Args:
        model: a BertModel, BertForSequenceClassification or BertForQuestionAnswering in float32 after ``freeze``.
        folder: new, empty, or an earlier packed model; or a symbolic link to one, which stays a link.
        rest: ``"fp32"`` keeps every output to the bit. ``"fp16"`` halves scales, steps, biases, LayerNorm, low-rank
            terms and whatever else is not packed: each such value moves by at most one part in 2048 (or by 3e-8, if
            that is more), and is turned back into float32 on loading.
        tokenizer: saved along. If left out, a model that ``load_packed`` read is saved with the one it came with.
        card: what the model card shall say beside what the model says itself.

    Returns:
        The folder.

    Raises:
        ValueError: rest unknown; a model that is of another class, not quantized, not frozen, not in float32, has an
            input quantizer that never saw data, other quantizers than ``quantize`` and ``set_widths`` give it, holds
            values that are not finite or too large for fp16, or has names of labels that do not fit; a tokenizer that
            does not fit the model or cannot be read back as it is; or a card that is no ``ModelCard``.
        FileExistsError: the folder holds something else.
        OSError: it cannot be written, or not replaced: a mount point, or the working directory.

    >>> import tempfile
    >>> import torch
    >>> from transformers import BertConfig, BertModel
    >>> from xtcq import QuantConfig, freeze, load_packed, quantize, save_packed
    >>> config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    >>> model = freeze(quantize(BertModel(config).eval(), QuantConfig("1-1-8")))
    >>> loaded = load_packed(save_packed(model, tempfile.mkdtemp()))
    >>> ids = torch.tensor([[2, 7, 3]])
    >>> torch.equal(loaded(ids).last_hidden_state, model(ids).last_hidden_state)
    True
    """
    folder, card = Path(folder).absolute(), card or ModelCard()
    check_choice("rest", rest, REST_DTYPES)
    if not isinstance(card, ModelCard):
        raise ValueError(f"card is {card!r}, expected ModelCard(task=..., metrics=...)")
    _check_model(model)
    if tokenizer is not None:
        check_tokenizer(tokenizer, model.config)
    tensors, settings = _packed(model, REST_DTYPES[rest]), quant_config(model)
    _check_target(folder)
    with whole_folder(folder) as temporary:
        safetensors.torch.save_file(tensors, temporary / WEIGHTS_FILE)
        config = copy.deepcopy(model.config)
        config.architectures = [type(model).__name__]
        (temporary / CONFIG_FILE).write_text(config.to_json_string(), encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
            _check_saved(tokenizer, temporary)
        else:
            for name, data in getattr(model, _BESIDE, {}).items():
                (temporary / name).write_bytes(data)
        manifest = Manifest(
            precision=str(settings.precision),
            recipe=settings.recipe,
            lora_rank=settings.lora_rank,
            rest=rest,
            files={path.name: describe_file(path) for path in sorted(temporary.iterdir())},
            modules=quantization_map(model),
        )
        (temporary / MAP_FILE).write_text(manifest.to_json(), encoding="utf-8")
        try:  # what load_packed will do
            skeleton((temporary / CONFIG_FILE).read_bytes(), manifest, tensors)
        except PackedModelError as error:
            raise ValueError(
                f"the model has quantizers that quantize(model, {settings}) does not give it, and could not be loaded "
                f"again ({error}): change widths by set_widths, and no quantizer by hand"
            ) from error
        has_tokenizer = tokenizer is not None or hasattr(model, _BESIDE)
        file_bytes = manifest.files[WEIGHTS_FILE]["bytes"]
        text = render_card(card, model, rest, file_bytes, has_tokenizer)
        (temporary / CARD_FILE).write_text(text, encoding="utf-8")
    return folder


def check_packing(model: PreTrainedModel, folder: str | Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Refuse now what ``save_packed`` or integer inference would refuse once a student of ``model`` is trained.

    Raises:
        ValueError: the model, a teacher or its untrained student, cannot be packed or run as integers, or the tokenizer
            that shall be saved along does not fit it or cannot be read back as it is.
        FileExistsError: the folder, where the packed student shall be, holds something else than a packed model.
        OSError: it cannot be written, or not replaced: a mount point, or the working directory.
    """
    folder = Path(folder).absolute()
    check_integer_graph(model.config)
    check_model(model)
    check_labels(model)
    check_packable(model)
    problem_type(model.config)
    if tokenizer is not None:
        check_tokenizer(tokenizer, model.config)
        with tempfile.TemporaryDirectory() as saved:
            tokenizer.save_pretrained(saved)
            _check_saved(tokenizer, Path(saved))
    _check_target(folder)
    check_replaceable(folder)
    # It is written beside itself, and renamed.
    place = next(path for path in folder.resolve().parents if path.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(f"{place} cannot be written: give a folder elsewhere than {folder}")


def load_packed(folder: str | Path) -> PreTrainedModel:
    """Read a model that ``save_packed`` wrote.

    Every file that the map lists is checked against its SHA-256, the tokenizer's too; nothing is unpickled, no code of
    the folder is run. The tokenizer is had by ``AutoTokenizer.from_pretrained(folder)``.

    Args:
        folder: where it is; a snapshot of a Hugging Face repository will do.

    Returns:
        The frozen model, on the CPU, in float32 and evaluation mode. Its codes take one byte each in memory.

    Raises:
        FileNotFoundError: the folder, its map or a file that the map lists is missing.
        PackedModelError: a file is truncated, changed, of another version or format, or the files do not fit together.

    >>> from xtcq import load_packed
    >>> load_packed("/nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FileNotFoundError: /nowhere has no quantization_map.json, so it holds no packed model: ...
    """
    folder = Path(folder).absolute()
    manifest = Manifest.read(folder)
    if manifest.rest not in tuple(REST_DTYPES):  # a list or a dictionary is none of keys
        raise PackedModelError(f"{folder / MAP_FILE} says rest {manifest.rest!r}, expected 'fp32' or 'fp16'")
    names = dict.fromkeys((*manifest.files, CONFIG_FILE, WEIGHTS_FILE))
    content = {name: manifest.read_file(folder, name) for name in names}
    _check_beside(folder, content)
    try:
        tensors = safetensors.torch.load(content[WEIGHTS_FILE])
    except SafetensorError as error:
        raise PackedModelError(
            f"{folder / WEIGHTS_FILE} is not a safetensors file ({error}), and no other format is read: pack the "
            "model again"
        ) from error
    model = skeleton(content[CONFIG_FILE], manifest, tensors)
    model.load_state_dict(_state(model, tensors, REST_DTYPES[manifest.rest]), assign=True)
    if beside := {name: content[name] for name in manifest.files if name not in (CONFIG_FILE, WEIGHTS_FILE)}:
        setattr(model, _BESIDE, beside)
    return model.eval()


def rename_labels(folder: str | Path, names: Sequence[str]) -> list[str]:
    """Rename the labels of a packed classifier, in order, and return those that there were; the rest stays to the bit.

    Raises:
        FileNotFoundError: the folder holds no packed model.
        PackedModelError: it is damaged; see ``load_packed``.
        ValueError: it is no classifier, or there are not as many different names as it has labels.
        OSError: it cannot be written, and stays as it was.
    """
    folder = Path(folder).absolute()
    model = load_packed(folder)
    config: Any = model.config
    before, names = [str(config.id2label[i]) for i in range(config.num_labels)], list(names)
    if not isinstance(model, BertForSequenceClassification) or len(before) == 1:
        raise ValueError(f"{folder} holds a {type(model).__name__} without classes: it has no labels to rename")
    check_names("names", dict(enumerate(names)), len(before), f"in the order of {before}")
    with whole_folder(folder) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        fields = json.loads((folder / CONFIG_FILE).read_bytes())
        fields |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        (temporary / CONFIG_FILE).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        manifest = Manifest.read(folder)
        files = manifest.files | {CONFIG_FILE: describe_file(temporary / CONFIG_FILE)}
        (temporary / MAP_FILE).write_text(dataclasses.replace(manifest, files=files).to_json(), encoding="utf-8")
    return before


def _check_beside(folder: Path, content: Mapping[str, bytes]) -> None:
    """Refuse what makes transformers run code of the folder, and a tokenizer that no digest covers."""
    for name in _TOKENIZER:
        if (folder / name).exists() and name not in content:
            raise PackedModelError(
                f"{folder / name} is not listed in {MAP_FILE}, so that nothing says whether it belongs to the model: "
                "remove it, or pack the model again with its tokenizer"
            )
    for name, data in content.items():
        if name.endswith(".json") and b"auto_map" in data:
            raise PackedModelError(
                f"{folder / name} says auto_map, which asks for code of the folder to be run: do not use this model, "
                "or pack it again with a tokenizer and a configuration of transformers' own"
            )


def _check_model(model: PreTrainedModel) -> None:
    check_labels(model)
    check_packable(model)
    kind = type(model).__name__
    problem_type(model.config)
    check_unchanged(model)
    if not quantization_map(model):
        raise ValueError(f"{kind} is not quantized: call quantize(model, config) and freeze(model) first")
    check_frozen(model)
    formats = _code_formats(model)
    for name, module in model.named_modules():
        dtypes = {tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()}
        if f"{name}.codes" in formats:
            dtypes.add(module.dtype)
        if wrong := dtypes - {torch.float32}:
            raise ValueError(
                f"{name or kind} holds {wrong.pop()}, expected torch.float32: call model.float() before freeze, and "
                "choose the width on disk with rest"
            )
    for key, value in model.state_dict().items():
        if key.endswith(".initialized") and not value:
            raise ValueError(
                f"{key.rpartition('.')[0]} has no step size yet, it is set by the first batch: run the model once"
            )


def _code_formats(model: nn.Module) -> dict[str, CodeFormat]:
    """How the codes of every frozen layer are stored, by state-dict key."""
    layers = ((name, module) for name, module in model.named_modules() if isinstance(module, QuantizedLayer))
    return {f"{name}.codes": layer.code_format for name, layer in layers if layer.is_frozen and layer.code_format}


def _implied_state(model: nn.Module) -> dict[str, Tensor]:
    """What a file need not store, by state-dict key: all steps of a file are set, and the map has the widths."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, LSQQuantizer)}
    flags = {f"{name}.initialized": torch.tensor(True) for name in found}
    return flags | {f"{name}.width": torch.tensor(m.bits, dtype=m.width.dtype) for name, m in found.items()}


def _packed(model: PreTrainedModel, rest: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors of the file, by state-dict key."""
    formats, implied = _code_formats(model), _implied_state(model)
    tensors = {}
    for key, value in model.state_dict().items():
        if key in implied:
            continue
        if key not in formats:
            tensors[key] = _narrowed(key, value.cpu(), rest)
            continue
        try:
            tensors[key] = pack_codes(value.flatten(), formats[key])
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


def _check_saved(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Refuse a tokenizer that is another one when it is read again: what a program changed in it may not be saved."""
    again = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for name in ("pad_token_id", "padding_side", "truncation_side", "model_max_length"):
        ours, theirs = getattr(tokenizer, name), getattr(again, name)
        if ours != theirs:
            raise ValueError(
                f"the tokenizer has {name} {ours!r}, and {theirs!r} when it is read back: give it as an argument "
                "where the tokenizer is made or loaded"
            )
    ours, theirs = map(_steps, (tokenizer, again))
    for part in ours if theirs else ():
        if ours[part] != theirs[part]:
            raise ValueError(
                f"the tokenizer has another {part} when it is read back, and would split texts otherwise: give "
                "PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer) and its special tokens, which "
                "keeps what was changed, or give it as an argument where the tokenizer is made or loaded"
            )
    if tokenizer.get_vocab() != again.get_vocab():
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, and {len(again)} others when it is read back: save it with "
            "save_pretrained, load it, and give that one"
        )


def _steps(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What a tokenizer does to a text, but for its words; nothing for one that is written in Python."""
    if not tokenizer.is_fast:
        return {}
    steps = json.loads(tokenizer.backend_tokenizer.to_str())
    steps["model"] = {name: value for name, value in steps["model"].items() if name != "vocab"}
    return {part: steps[part] for part in ("normalizer", "pre_tokenizer", "model", "post_processor")}


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


def _state(model: nn.Module, tensors: Mapping[str, Tensor], rest: torch.dtype) -> dict[str, Tensor]:
    """Check names, dtypes and shapes of the stored tensors, and return what ``model`` loads."""
    formats, loaded = _code_formats(model), _implied_state(model)
    expected = {key: value for key, value in model.state_dict().items() if key not in loaded}
    if odd := sorted(expected.keys() ^ tensors.keys()):
        state = "lacks" if odd[0] in expected else "holds, beyond what the model has,"
        raise PackedModelError(
            f"{WEIGHTS_FILE} {state} {odd[0]!r} ({len(odd)} names differ): it does not belong to {CONFIG_FILE} and "
            f"{MAP_FILE}, pack the model again"
        )
    for key, empty in expected.items():
        found, code_format = tensors[key], formats.get(key)
        shape = (code_format.packed_bytes(empty.numel()),) if code_format else tuple(empty.shape)
        dtype = torch.uint8 if code_format else rest
        if tuple(found.shape) != shape or found.dtype != dtype:
            raise PackedModelError(
                f"{WEIGHTS_FILE} has {key} of shape {tuple(found.shape)} and {found.dtype}, expected {shape} and "
                f"{dtype}: it does not belong to {CONFIG_FILE} and {MAP_FILE}, pack the model again"
            )
        try:
            codes = found if code_format is None else unpack_codes(found, code_format, empty.numel())
            loaded[key] = found.float() if code_format is None else codes.view(empty.shape)
            if not torch.isfinite(loaded[key]).all():
                raise ValueError("it holds NaN or infinity")
        except ValueError as error:
            raise PackedModelError(f"{WEIGHTS_FILE}, {key}: {error}; pack the model again") from error
    return loaded

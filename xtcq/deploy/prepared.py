"""What a packed classifier needs in order to answer, made once: its graph, its tokenizer and what its outputs mean."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xtcq
from xtcq.checks import check_choice
from xtcq.files import sha256, whole_folder
from xtcq.outputs import MULTI_LABEL, REGRESSION, problem_type
from xtcq.packing.manifest import MAP_FILE, Manifest

WEIGHTS = ("int8", "matmulnbits")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
CACHE = "XTCQ_CACHE"
_GRAPH, _TOKENIZER, _FACTS = "model.onnx", "tokenizer.json", "answers.json"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A packed classifier as onnxruntime and tokenizers read it.

    Attributes:
        graph: content of the ONNX file, or where it is.
        tokenizer: as ``tokenizers.Tokenizer.from_str`` reads it.
        names: of the labels; empty for regression.
        multi_label: whether a row may have any number of labels.
        num_texts: of a row, 1 or 2; None where the model does not say it.
        max_length: word pieces that it reads.
        truncation_side: where a longer text loses what is too much.
        pad_token_id: what shorter rows of a batch are filled with.
        shares_scales: whether a row's answer depends on the rows beside it, which it shares scales of activations with.
        digest: of the packed model, the kind of weights and the program that made the graph.
    """

    graph: bytes | Path
    tokenizer: str
    names: tuple[str, ...]
    multi_label: bool
    num_texts: int | None
    max_length: int
    truncation_side: str
    pad_token_id: int
    shares_scales: bool
    digest: str


def prepare(folder: str | Path, weights: str = "int8") -> Prepared:
    """Return a packed classifier ready to answer.

    What takes torch and transformers is done once, and kept under a digest in the folder that ``XTCQ_CACHE`` names
    (``~/.cache/xtcq`` by default). What was damaged there is made again.

    Args:
        folder: what ``save_packed`` wrote, with a tokenizer. Every file is checked against its digest.
        weights: "int8" or "matmulnbits", see ``xtcq.deploy.export.export_onnx``.

    Raises:
        FileNotFoundError: the folder, or a file of it, is missing, or it has no tokenizer.
        PackedModelError: the packed model is damaged; see ``load_packed``.
        ValueError: weights unknown, or it is no sequence classifier, cannot run as integers, its tokenizer does not
            fit, or two of its labels have one name.

    Warns:
        UserWarning: nothing can be kept, so it is made again the next time.
    """
    check_choice("weights", weights, WEIGHTS)
    folder = Path(folder).absolute()
    manifest = Manifest.read(folder)
    for name in manifest.files:
        manifest.read_file(folder, name)
    # The map holds the digests of all files.
    of_model = hashlib.sha256((folder / MAP_FILE).read_bytes() + weights.encode()).hexdigest()
    digest = hashlib.sha256(f"{of_model} {_program()}".encode()).hexdigest()
    base = os.environ.get(CACHE) or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xtcq"
    kept = Path(base) / digest
    try:
        return _read(kept, digest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there yet, or damaged
        pass
    made = _make(folder, weights, digest)
    try:
        _write(made, kept)
    except OSError as error:
        warnings.warn(
            f"the graph of {folder} is made anew each time, because it cannot be kept ({error}): set {CACHE} to a "
            "folder that can be written",
            stacklevel=3,
        )
        return made
    return dataclasses.replace(made, graph=kept / _GRAPH)


def _make(folder: Path, weights: str, digest: str) -> Prepared:
    """Load and check a packed classifier, and make its graph: the step that takes torch and transformers."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    from xtcq.deploy.export import build_graph, shares_scales
    from xtcq.packing import load_packed
    from xtcq.preflight import check_labels, check_tokenizer, reads_pairs

    model = load_packed(folder)
    if not isinstance(model, BertForSequenceClassification):
        raise ValueError(
            f"{folder} holds a {type(model).__name__}, and texts are classified by a "
            "BertForSequenceClassification: export others with export_onnx"
        )
    if not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f"{folder} has no tokenizer.json: pack the model again with save_packed(..., tokenizer=tokenizer)"
        )
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config: Any = model.config
    check_tokenizer(tokenizer, config)
    check_labels(model, f"rename them by `python -m xtcq rename-labels {folder}`")
    kind = problem_type(config)
    known = check_choice("num_texts of the configuration", getattr(config, "num_texts", None), (None, 1, 2))
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return Prepared(
        graph=build_graph(model, weights).SerializeToString(),
        tokenizer=backend.to_str(),
        # A label may be a number: it is shown as text.
        names=() if kind == REGRESSION else tuple(str(config.id2label[i]) for i in range(config.num_labels)),
        multi_label=kind == MULTI_LABEL,
        num_texts=known if reads_pairs(tokenizer, config) else 1,
        max_length=min(config.max_position_embeddings, tokenizer.model_max_length),
        truncation_side=tokenizer.truncation_side,
        pad_token_id=tokenizer.pad_token_id,
        shares_scales=shares_scales(model),
        digest=digest,
    )


@functools.cache
def _program() -> str:
    """Digest of what makes graphs: another program may make another one of the same model."""
    digest = hashlib.sha256(xtcq.__version__.encode())
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _write(made: Prepared, kept: Path) -> None:
    assert isinstance(made.graph, bytes)
    content = {_GRAPH: made.graph, _TOKENIZER: made.tokenizer.encode()}
    facts = dataclasses.asdict(made) | {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    del facts["graph"], facts["tokenizer"]
    with whole_folder(kept) as temporary:
        for name, data in content.items():
            (temporary / name).write_bytes(data)
        (temporary / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _read(kept: Path, digest: str) -> Prepared:
    facts: dict[str, Any] = json.loads((kept / _FACTS).read_bytes())
    for name in (_GRAPH, _TOKENIZER):
        if facts.pop(name) != sha256(kept / name):
            raise ValueError(f"{kept / name} is damaged")
    tokenizer = (kept / _TOKENIZER).read_text(encoding="utf-8")
    found = Prepared(graph=kept / _GRAPH, tokenizer=tokenizer, **facts | {"names": tuple(facts["names"])})
    if found.digest != digest:
        raise ValueError(f"{kept / _FACTS} is another model's")
    return found

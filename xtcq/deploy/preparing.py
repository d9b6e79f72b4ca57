"""Makes a packed classifier ready to answer: the step of ``xtcq.deploy.prepared`` that takes torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BertForSequenceClassification

from xtcq.checks import check_choice
from xtcq.deploy.export import build_graph, shares_scales
from xtcq.deploy.prepared import Prepared
from xtcq.outputs import MULTI_LABEL, REGRESSION, problem_type
from xtcq.packing import load_packed
from xtcq.preflight import check_labels, check_tokenizer, reads_pairs


def make(folder: Path, weights: str, digest: str) -> Prepared:
    """Load and check a packed classifier, and make its graph; arguments and errors are those of ``prepare``."""
    model = load_packed(folder)
    if not isinstance(model, BertForSequenceClassification):
        raise ValueError(
            f"{folder} holds a {type(model).__name__}, and texts are classified by a "
            "BertForSequenceClassification: export others with export_onnx"
        )
    tokenizer = _tokenizer(folder)
    config: Any = model.config
    check_tokenizer(tokenizer, config)
    check_labels(model, f"rename them by `python -m xtcq rename-labels {folder}`")
    kind = problem_type(config)
    # A label may be a number: it is shown as text.
    names = () if kind == REGRESSION else tuple(str(config.id2label[i]) for i in range(config.num_labels))
    known = check_choice("num_texts of the configuration", getattr(config, "num_texts", None), (None, 1, 2))
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return Prepared(
        graph=build_graph(model, weights).SerializeToString(),
        tokenizer=backend.to_str(),
        names=names,
        multi_label=kind == MULTI_LABEL,
        num_texts=known if reads_pairs(tokenizer, config) else 1,
        max_length=min(config.max_position_embeddings, tokenizer.model_max_length),
        truncation_side=tokenizer.truncation_side,
        pad_token_id=tokenizer.pad_token_id,
        shares_scales=shares_scales(model),
        digest=digest,
    )


def _tokenizer(folder: Path) -> Any:
    if not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f"{folder} has no tokenizer.json: pack the model again with save_packed(..., tokenizer=tokenizer)"
        )
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

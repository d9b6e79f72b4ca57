"""Augmented tasks, kept on disk by what they were made from."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import logging
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
from filelock import FileLock
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xtcq.encoder import load_masked_lm
from xtcq.files import find_checkout, whole_file
from xtcq.tasks.augmentation.augment import Augmentation, augment
from xtcq.tasks.augmentation.candidates import Candidates, MaskedLM, Neighbours
from xtcq.tasks.sources import load_task
from xtcq.tasks.spec import Task

logger = logging.getLogger(__name__)

# Raised when the same settings give other sentences than before.
_VERSION = 1

# TinyBERT's N (`data_augmentation.py` L290-312; it misspells STS-B and falls back to the same 30). XTC does not augment
# MNLI and QQP (Table C.1). The demo tasks are small and so is theirs.
COPIES = {"cola": 30, "mnli": 10, "mrpc": 30, "qnli": 20, "qqp": 10, "rte": 30, "sst2": 20, "stsb": 30}
COPIES |= dict.fromkeys(("demo-acceptability", "demo-pairs", "demo-similarity"), 3)
SOURCES = ("neighbours", "masked-lm", "tinybert")
MASKED_LM = "bert-base-uncased"

# TinyBERT's script reads so many lines of its file, whose words are sorted by how often they occur.
_VECTORS = 100_000
_GET_VECTORS = (
    "get glove.42B.300d.zip (1.9 GB) from https://nlp.stanford.edu/projects/glove, unpack it, and set "
    "XTCQ_VECTORS to the path of glove.42B.300d.txt; or choose augmentation 'masked-lm', which needs no such file"
)


def augmented_folder() -> Path:
    """Where augmented tasks are kept: in ``XTCQ_CACHE``, else in ``runs`` of the checkout or working directory."""
    return Path(os.environ.get("XTCQ_CACHE") or (find_checkout() or Path.cwd()) / "runs") / "augmented"


def load_augmented_task(name: str, source: str, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Task:
    """Load a task and add sentences to its training set, as many as TinyBERT does.

    XTC does not augment MNLI and QQP (Table C.1); who asks for them gets TinyBERT's number of sentences.

    Args:
        name: of the task.
        source: ``"neighbours"``: every word is replaced by its nearest words among the encoder's own word embeddings,
            which need no other model. ``"tinybert"``: TinyBERT's scheme, words of a single piece by BERT-base as the
            masked language model, and those of several pieces by their neighbours among GloVe's vectors, a file that
            ``$XTCQ_VECTORS`` names. ``"masked-lm"``: the same without that file; the encoder's word embeddings serve
            the words that the masked language model cannot read, those far on in a long text, and words of several
            pieces stay as they are, as with ``"neighbours"``.
        encoder: the pre-trained encoder; not a fine-tuned one, or every teacher would give other sentences.
        tokenizer: the encoder's.

    Returns:
        The task; only its training set is larger.

    Raises:
        ValueError: for an unknown source, a task that TinyBERT did not augment, and what loading the task raises.
        FileNotFoundError: if the masked language model, the word vectors or the task's data cannot be found.
    """
    if source not in SOURCES:
        raise ValueError(f"source of words {source!r} is unknown: use one of {', '.join(SOURCES)}")
    if name not in COPIES:
        raise ValueError(f"task {name!r} is not augmented: use one of {', '.join(COPIES)}")
    task = load_task(name)
    near = load_vectors() if source == "tinybert" else Neighbours.from_encoder(encoder, tokenizer)
    candidates = near if source == "neighbours" else MaskedLM(*load_masked_lm(MASKED_LM), rest=near)
    return augment_task(task, candidates, tokenizer, Augmentation(copies=COPIES[name]))


def load_vectors() -> Neighbours:
    """Read the file that ``$XTCQ_VECTORS`` names, in GloVe's format: a word and its numbers in every line.

    Returns:
        Neighbours among its first 100,000 words.

    Raises:
        FileNotFoundError: the variable is not set, or names no file; the message says what to get and where to put it.
        ValueError: the file is in another format.
    """
    name = os.environ.get("XTCQ_VECTORS")
    if not name or not Path(name).is_file():
        found = f"names {name!r}, which is no file" if name else "is not set"
        raise FileNotFoundError(
            f"augmentation 'tinybert' replaces words of several pieces by a file of word vectors, and XTCQ_VECTORS "
            f"{found}: {_GET_VECTORS}"
        )
    try:
        table = pd.read_csv(
            name, sep=" ", header=None, nrows=_VECTORS, quoting=csv.QUOTE_NONE, na_filter=False, encoding="utf-8"
        )
        return Neighbours(table[0].astype(str).tolist(), table.drop(columns=0).to_numpy("float32"))
    except ValueError as error:  # of pandas' parser, of a value that is no number, or of Neighbours
        raise ValueError(
            f"{name} holds no word vectors in GloVe's format ({str(error).strip()}): {_GET_VECTORS}"
        ) from error


def augment_task(task: Task, source: Candidates, tokenizer: PreTrainedTokenizerBase, settings: Augmentation) -> Task:
    """Augment the training set of a task, or read it from disk if the same was done before.

    The arguments are those of ``augment``; the same ones give the same file to the byte.

    Raises:
        OSError: if the result cannot be written; nothing half-written is left.
    """
    digest = _digest(task, source, tokenizer, settings)
    path = augmented_folder() / f"{task.spec.name}-{digest}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        frame = _read(path, task)
        if frame is None:
            frame = augment(task.train, task.spec.columns, source, tokenizer, settings)
            with whole_file(path) as partial:
                frame.to_parquet(partial, index=False, write_page_checksum=True)
    return dataclasses.replace(task, train=frame)


def _digest(task: Task, source: Candidates, tokenizer: PreTrainedTokenizerBase, settings: Augmentation) -> str:
    # Truncation and padding belong to the same state, change with every use and decide nothing here.
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    facts = {
        "version": _VERSION,
        "columns": task.spec.columns,
        "settings": dataclasses.asdict(settings),
        "source": source.digest,
        "words": [backend["normalizer"], backend["pre_tokenizer"]],
        "train": hashlib.sha256(task.train.to_json(orient="values").encode()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path, task: Task) -> pd.DataFrame | None:
    """The stored frame; None if there is none, or it is damaged: it only costs time to make it again."""
    if not path.exists():
        return None
    try:
        # Without the check most flipped bits would come back as other words.
        return pd.read_parquet(path, page_checksum_verification=True)[[*task.spec.columns, "label"]]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        logger.warning("%s is damaged (%s) and is made again", path, error)
        return None

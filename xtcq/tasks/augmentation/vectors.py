"""Word vectors of a file, for the words that a masked language model does not offer anything for."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pandas as pd

from xtcq.tasks.augmentation.candidates import Neighbours

VARIABLE = "XTCQ_VECTORS"
# TinyBERT's script reads so many lines of its file, whose words are sorted by how often they occur.
WORDS = 100_000
_REMEDY = (
    "get glove.42B.300d.zip (1.9 GB) from https://nlp.stanford.edu/projects/glove, unpack it, and set "
    f"{VARIABLE} to the path of glove.42B.300d.txt; or choose augmentation 'masked-lm', which needs no such file"
)


def load_vectors() -> Neighbours:
    """Read the file that ``$XTCQ_VECTORS`` names, in GloVe's format: a word and its numbers in every line.

    Returns:
        Neighbours among its first ``WORDS`` words.

    Raises:
        FileNotFoundError: the variable is not set, or names no file; the message says what to get and where to put it.
        ValueError: the file is in another format.
    """
    name = os.environ.get(VARIABLE)
    if not name or not Path(name).is_file():
        found = f"names {name!r}, which is no file" if name else "is not set"
        raise FileNotFoundError(
            f"augmentation 'tinybert' replaces words of several pieces by a file of word vectors, and {VARIABLE} "
            f"{found}: {_REMEDY}"
        )
    try:
        table = pd.read_csv(
            name, sep=" ", header=None, nrows=WORDS, quoting=csv.QUOTE_NONE, na_filter=False, encoding="utf-8"
        )
        return Neighbours(table[0].astype(str).tolist(), table.drop(columns=0).to_numpy("float32"))
    except ValueError as error:  # of pandas' parser, of a value that is no number, or of Neighbours
        raise ValueError(f"{name} holds no word vectors in GloVe's format ({str(error).strip()}): {_REMEDY}") from error

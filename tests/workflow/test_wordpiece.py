"""The tokenizer of the page "Try it" against that of Python, which it must equal piece by piece."""

import gzip
import json
import os
import random
import shutil
import subprocess
import unicodedata
from pathlib import Path

import browser_model
import pandas as pd
import pytest

from xtcq.encoder import load_encoder

ROOT = Path(__file__).parents[2]
SCRIPT = """
import { readFileSync } from "node:fs";
import { WordPiece } from "%s";
const [vocabulary, maxLength, texts] = JSON.parse(readFileSync(0, "utf8"));
const tokenizer = new WordPiece(vocabulary, maxLength);
console.log(JSON.stringify(texts.map((text) => tokenizer.encode(text))));
"""
TRICKY = [
    "",
    "   ",
    "a\tb\nc\r\nd\u00a0e\u3000f\u2028g",
    "Crème brûlée à la façon d'Étienne, naïvement",
    "e\u0301 is é, and Å is A\u030a",
    "isn't it--really?--(yes) $5+5=<10>^`|~",
    "東京は夜の七時 mixed with 中文字符 and 한국어 and ไทย",
    "ΟΔΥΣΣΕΥΣ and İstanbul and STRASSE and straße",
    "zero\u200bwidth soft\u00adhyphen bell\x07 replaced\ufffd nul\x00",
    "a word [MASK] and [SEP] and [sep] and [CLS][UNK]",
    "x" * 100 + " " + "x" * 101,
    "🎬🍿 five stars 😀 ½ ² ﬁ Ⅷ",
    "unaffable antidisestablishmentarianism qqqqzzzz",
]


@pytest.fixture(scope="module")
def python():
    return load_encoder("minilm-l6", 2)[1]


@pytest.fixture
def agree(python, tmp_path):
    """Encode texts in both ways and assert that they are equal."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, and the page's tokenizer is JavaScript")
    browser_model.write_vocabulary(python, tmp_path / "v.gz")
    vocabulary = gzip.decompress((tmp_path / "v.gz").read_bytes()).decode()
    script = SCRIPT % (ROOT / "book/_static/try-it/wordpiece.mjs").as_uri()

    def check(texts, max_length=64):
        asked = json.dumps([vocabulary, max_length, texts])
        command = [node, "--input-type=module", "--eval", script]
        found = subprocess.run(command, input=asked, capture_output=True, check=True, text=True, encoding="utf-8")
        encoded = python(texts, truncation=True, max_length=max_length)
        for text, there, ids, backend in zip(
            texts, json.loads(found.stdout), encoded["input_ids"], encoded.encodings, strict=True
        ):
            assert there == {"ids": ids, "cut": bool(backend.overflowing)}, repr(text)

    return check


def test_tricky_texts(agree):
    agree([*TRICKY, *browser_model.SENTENCES])


def test_every_length_around_the_longest(agree):
    agree([" ".join(["film"] * count) for count in range(10)], max_length=6)


def test_characters_one_by_one(agree):
    """Those of one category in an old Unicode and a new one: the browser's is newer than that of Python's tokenizer."""
    known = [
        character
        for character in map(chr, [*range(0xD800), *range(0xE000, 0x30000)])
        if unicodedata.ucd_3_2_0.category(character) == unicodedata.category(character) != "Cn"
    ]
    rare = [character for character in known if unicodedata.category(character) not in ("Lo", "Co")]
    agree([f"a{character}b" for character in rare + random.Random(0).sample(known, 2000)])


def test_real_sentences(agree):
    files = list(Path(os.environ.get("XTCQ_DATA", "nowhere")).glob("glue/sst2/*.parquet"))
    if not files:
        pytest.skip("XTCQ_DATA has no glue/sst2")
    sentences = pd.concat(pd.read_parquet(file, columns=["sentence"]) for file in files)["sentence"]
    agree(sentences.sample(min(len(sentences), 4000), random_state=0).tolist())

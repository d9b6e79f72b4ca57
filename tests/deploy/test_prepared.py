import os
import subprocess
import sys

import numpy as np
import pytest
from transformers import AutoTokenizer

from xtcq import save_packed
from xtcq.deploy import prepared
from xtcq.deploy.prepared import prepare
from xtcq.deploy.runtime import Runtime

# The command line in a process of its own; the first argument names what it may load after all.
LIGHT = """
import runpy, sys
allowed = sys.argv.pop(1).split(",")
try:
    runpy.run_module("xtcq", run_name="__main__")
except SystemExit as end:
    assert not end.code
heavy = {"torch", "transformers", "onnx", "sklearn", "pandas", "pyarrow", "scipy"}.difference(allowed)
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


@pytest.fixture
def folder(frozen_bert, word_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_CACHE", str(tmp_path / "cache"))
    return save_packed(frozen_bert(), tmp_path / "model", tokenizer=word_tokenizer)


@pytest.fixture
def makings(monkeypatch):
    """The folders that a graph was made of, in order."""
    seen, original = [], prepared._make
    monkeypatch.setattr(prepared, "_make", lambda folder, *rest: seen.append(folder.name) or original(folder, *rest))
    return seen


def test_a_graph_is_made_once(folder, makings, tmp_path):
    first = Runtime(folder, threads=1).predict(["w1 w2"]).logits
    np.testing.assert_array_equal(Runtime(folder, threads=1).predict(["w1 w2"]).logits, first)
    assert makings == ["model"]
    Runtime(folder, "matmulnbits", threads=1)
    assert makings == ["model"] * 2 and len(list((tmp_path / "cache").iterdir())) == 2


def test_a_model_that_changed_has_another_graph(folder, frozen_bert, word_tokenizer, makings):
    Runtime(folder, threads=1)
    save_packed(frozen_bert("2-2-8"), folder, tokenizer=word_tokenizer)
    Runtime(folder, threads=1)
    assert makings == ["model"] * 2


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json", "answers.json"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: b"\0" + data[1:], lambda data: b"null", None],
    ids=["cut off", "changed", "another", "gone"],
)
def test_what_was_damaged_is_made_again(file, damage, folder, makings, tmp_path):
    expected = Runtime(folder, threads=1).predict(["w1 w2"]).logits
    (kept,) = (tmp_path / "cache").iterdir()
    path = kept / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(Runtime(folder, threads=1).predict(["w1 w2"]).logits, expected)
    assert makings == ["model"] * 2
    Runtime(folder, threads=1)
    assert makings == ["model"] * 2


def test_a_model_answers_where_nothing_can_be_kept(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XTCQ_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="is made anew each time, because it cannot be kept .* set XTCQ_CACHE"):
        runtime = Runtime(folder, threads=1)
    assert runtime.predict(["w1"]).logits.shape == (1, 3)


def test_texts_are_cut_into_the_tokens_of_the_tokenizer(folder):
    """Special tokens written in a text, unknown words, pairs, and where a text ends that is too long."""
    tokenizer, runtime = AutoTokenizer.from_pretrained(folder), Runtime(folder, threads=1)
    texts = ["w1 [SEP] w2", "never seen", " ".join(["w7"] * 90), "w5"]
    pairs = ["w3", " ".join(["w4 w5"] * 60), "w1 w2", "[PAD] w9"]
    for second in (None, pairs):
        theirs = tokenizer(texts, second, truncation=True, max_length=64, return_token_type_ids=True)
        ours = runtime._tokenizer.encode_batch(texts if second is None else list(zip(texts, second, strict=True)))
        assert [one.ids for one in ours] == theirs["input_ids"]
        assert [one.type_ids for one in ours] == theirs["token_type_ids"]
    assert prepare(folder).pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize(
    ("allowed", "arguments"),
    [("", ("--text", "w1 w2")), ("pandas,pyarrow", ("--input", "in.csv", "--output", "out.csv", "--column", "t"))],
)
def test_predictions_take_no_torch(allowed, arguments, folder, tmp_path):
    Runtime(folder, threads=1)
    (tmp_path / "in.csv").write_text("t\nw1\n")
    command = [sys.executable, "-c", LIGHT, allowed, "predict", str(folder), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert "LABEL" in result.stdout or (tmp_path / "out.csv").read_text().count("LABEL") == 1

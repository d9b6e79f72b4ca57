import numpy as np
import pandas as pd
import pytest
from torch.utils.data import Dataset

from xtcq.encoder import load_encoder
from xtcq.tasks import encode, own_task, task_spec


@pytest.fixture(scope="module")
def tokenizer():
    return load_encoder("minilm-l6", 2)[1]


def frame(name, label, *texts):
    return pd.DataFrame({**{c: [t] for c, t in zip(task_spec(name).columns, texts, strict=True)}, "label": [label]})


def test_a_single_sentence(tokenizer):
    data = encode(frame("cola", 1, "They know."), task_spec("cola"), tokenizer)
    assert isinstance(data, Dataset)
    assert len(data) == 1
    assert data[0] == {
        "input_ids": tokenizer.convert_tokens_to_ids(["[CLS]", "they", "know", ".", "[SEP]"]),
        "token_type_ids": [0] * 5,
        "attention_mask": [1] * 5,
        "labels": 1,
    }
    assert type(data[0]["labels"]) is int


def test_a_pair_keeps_its_order_and_its_segments(tokenizer):
    data = encode(frame("qnli", 0, "Who knows?", "They know."), task_spec("qnli"), tokenizer)
    assert tokenizer.decode(data[0]["input_ids"]) == "[CLS] who knows? [SEP] they know. [SEP]"
    assert data[0]["token_type_ids"] == [0] * 5 + [1] * 4


@pytest.mark.parametrize(("classes", "expected"), [(16, "0123456789abcdef"), (17, [*"0123456789abcdef", "10"])])
def test_what_was_predicted_can_be_read_again(classes, expected, tokenizer):
    """A digit an example, as long as one is enough."""
    every = pd.DataFrame({"text": [f"they know {i}" for i in range(classes)], "kind": range(classes)})
    task = own_task(every, ["text"], "kind", classes, evaluation=every.assign(text="who knows " + every["text"]))
    found = encode(task.train, task.spec, tokenizer).evaluate(np.eye(classes), range(classes))
    assert found == ({"accuracy": 100.0}, expected)


def test_regression_labels_are_floats(tokenizer):
    label = encode(frame("stsb", 4, "a", "b"), task_spec("stsb"), tokenizer)[0]["labels"]
    assert type(label) is float
    assert label == 4.0


@pytest.mark.parametrize(("name", "length"), [("sst2", 64), ("rte", 128)])
def test_long_text_is_cut_to_the_length_of_the_task(name, length, tokenizer):
    spec = task_spec(name)
    data = encode(frame(name, 0, *["word " * 300] * len(spec.columns)), spec, tokenizer)
    assert data.lengths == [length] == [len(data[0]["input_ids"])]
    assert data[0]["input_ids"][-1] == tokenizer.sep_token_id


def test_a_split_is_encoded_in_one_call(tokenizer):
    calls = []

    def counted(*texts, **options):
        calls.append(len(texts[0]))
        return tokenizer(*texts, **options)

    # One call lets the tokenizer work on all cores.
    rows = pd.DataFrame({"sentence": ["a film that is neither long nor short "] * 500, "label": 1})
    assert len(encode(rows, task_spec("sst2"), counted)) == 500
    assert calls == [500]

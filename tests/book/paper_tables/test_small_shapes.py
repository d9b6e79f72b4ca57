"""One run of each kind of row, from the rule of its table to its Record, on encoders of the papers' depths."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForPreTraining, BertTokenizerFast
from xtcq_book.paper_tables import cells

from xtcq.study import load_record, record_path, run_all
from xtcq.study.queue import with_all_needed
from xtcq.tasks import task_spec

WORDS = [first + second for first in "bdfgklmn" for second in ("ado", "eri", "ilu", "ona", "upe", "yto")]
STEPS = 4

KINDS = [
    ("xtc-c2", "Budget-A | Three-Stage | 1e-4", "rte"),
    ("xtc-c3", "Budget-C | Two-Stage | 2e-5", "rte"),
    ("xtc-c4", "Budget-A | One-Stage | 2e-5", "rte"),
    ("xtc-c5", "TinyBERT6 | 5e-5", "rte"),
    ("xtc-c6", "Bottom-6", "rte"),
    ("xtc-c8", "TinyBERT6 | 2", "rte"),
    ("xtc-c12", "Budget-B | Y (DIM=8) | 5e-4", "rte"),
    ("xtc-c13", "Five | 1 | N", "rte"),
    ("xtc-c14", "2-bit SkipBERT4 | 1-bit+LoRa1", "rte"),
    ("xtc-c15", "1-bit | N | Skip-BERT6", "rte"),
    ("xtc-c16", "MiniLM6 | Budget-B | Three | 222", "rte"),
    ("adaqat-t1", "AdaQAT without Distillation | Mixed-precision | 2.08-4-3.93", "squad2"),
    ("adaqat-t2", "TernaryBERT | 2-2-8", "squad2"),
    ("adaqat-t4", "RTE", "rte"),
    ("adaqat-t5", "AdaQAT | 2-4 | 2-2-2", "mnli"),
]


@pytest.fixture
def encoders(tmp_path, monkeypatch):
    """Random encoders under the names of the profile, 8 values a hidden state, and word vectors in GloVe's format."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    tokenizer = BertTokenizerFast(tokenizer_object=BertWordPieceTokenizer(str(tmp_path / "vocab.txt"))._tokenizer)
    for name, layers in {"bert-base-uncased": 12, "tinybert-l6": 6, "minilm-l6-768": 6}.items():
        torch.manual_seed(layers)
        shape = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": layers}
        model = BertForPreTraining(BertConfig(vocab_size=len(pieces), **shape))
        for saved in (model, tokenizer):
            saved.save_pretrained(tmp_path / "models" / name)
    monkeypatch.setenv("XTCQ_MODELS", str(tmp_path / "models"))
    rng = np.random.default_rng(1)
    vectors = [" ".join([word, *(f"{value:.5f}" for value in rng.normal(size=8))]) for word in WORDS]
    (tmp_path / "glove.txt").write_text("\n".join(vectors))
    monkeypatch.setenv("XTCQ_VECTORS", str(tmp_path / "glove.txt"))


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A few rows of RTE, MNLI and SQuAD v2.0 with the official columns."""
    rng = np.random.default_rng(0)

    def text():
        return " ".join(rng.choice(WORDS, 4))

    def question(number):
        context = text()
        answers = {"text": [context.split()[1]], "answer_start": [context.index(" ") + 1]}
        return {"id": str(number), "title": "t", "context": context, "question": text(), "answers": answers}

    for task, folder in {"rte": "glue/rte", "mnli": "glue/mnli", "squad2": "squad_v2"}.items():
        spec = task_spec(task)
        (tmp_path / "data" / folder).mkdir(parents=True)
        monkeypatch.setitem(vars(spec), "majority", None)  # nothing is learned here
        for split in spec.rows:
            monkeypatch.setitem(spec.rows, split, 10)
            rows = [{column: text() for column in spec.columns} | {"label": i % spec.num_labels} for i in range(10)]
            frame = pd.DataFrame(rows if spec.head == "classifier" else map(question, range(10)))
            frame.to_parquet(tmp_path / "data" / folder / f"{split}.parquet")
    monkeypatch.setenv("XTCQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XTCQ_CACHE", str(tmp_path / "cache"))


def shortened(run):
    """The run in a few steps, and so are those that it needs."""
    needed = {name: getattr(run, name) and shortened(getattr(run, name)) for name in ("teacher", "start")}
    adaqat = run.adaqat and dataclasses.replace(run.adaqat, short=True, share=0.5)
    return dataclasses.replace(run, epochs=STEPS / run.spec.epoch_steps, evaluations=1, adaqat=adaqat, **needed)


def test_every_kind_of_row_comes_to_its_record(folders, encoders, data):
    runs = [
        next(cell.experiments[0] for cell in cells(table, row, [task]) if cell.row == row) for table, row, task in KINDS
    ]
    runs = [shortened(run) for run in runs]
    records = dict(zip(KINDS, run_all(runs), strict=True))
    assert len(set(runs)) == len(KINDS)
    for run in with_all_needed(runs):
        record = load_record(record_path(run))
        assert record.experiment == run and record.history[-1]["step"] > 0 and record.last
    of = {table: record for (table, *_), record in records.items()}
    assert set(of["adaqat-t5"].last) == {"accuracy", "accuracy_mm"}
    assert set(of["adaqat-t1"].last) == {"exact_match", "f1"}
    assert of["xtc-c4"].size["nominal_mib"] > of["xtc-c13"].size["nominal_mib"]
    assert len(of["adaqat-t4"].exploration["widths"]) == 73 and len(of["adaqat-t1"].exploration["widths"]) == 72


@pytest.mark.parametrize("missing", ["data/glue/rte/train.parquet", "models/minilm-l6-768/tokenizer.json", "glove.txt"])
def test_nothing_is_trained_while_something_is_missing(folders, encoders, data, missing):
    (folders / missing).unlink()
    runs = [shortened(cells("xtc-c5", name, ["rte"])[0].experiments[0]) for name in ("skip-bert6", "minilm6")]
    said = "train.parquet is missing|minilm-l6-768 has no tokenizer|glove.txt', which is no file"
    with pytest.raises(FileNotFoundError, match=said):
        run_all(runs)
    assert not (folders / "runs").exists()

import datasets
import pandas as pd
import pytest

from xtcq.distillation import PLANS
from xtcq.tasks import encode, own_task
from xtcq.training import TrainSettings, train


def table(rows=40, classes=2):
    return pd.DataFrame({"text": [f"w{i} w{i % 7}" for i in range(rows)], "kind": [i % classes for i in range(rows)]})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_becomes_a_task(suffix, tmp_path):
    frame = table()
    frame.loc[3, "text"] = "NA"  # a word like any other
    path = tmp_path / f"mine.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    task = own_task(path, ["text"], "kind", 2)
    held = task.evaluation["validation"]
    assert (len(task.train), len(held), task.spec.rows) == (32, 8, {"train": 32, "validation": 8})
    assert task.spec.metrics == ("accuracy", "f1") and task.spec.majority == 4
    together = pd.concat([task.train, held])
    assert sorted(zip(together["text"], together["label"], strict=True)) == sorted(frame.itertuples(index=False))
    assert held["label"].sum() == 4 and held["label"].dtype == "int64", "as many of each class as there are"
    again = own_task(path, ["text"], "kind", 2).evaluation["validation"]
    other = own_task(path, ["text"], "kind", 2, seed=1).evaluation["validation"]
    assert again.equals(held) and not other.equals(held)


def test_pairs_and_evaluation_data_of_their_own():
    frame = table(classes=3).assign(second="w1")
    task = own_task(frame, ["text", "second"], "kind", 3, evaluation=frame.head(5), batch_size=4)
    assert task.spec.columns == ("text", "second") and task.spec.metrics == ("accuracy",)
    assert len(task.train) == 40 and len(task.evaluation["validation"]) == 5


def test_classes_by_name_in_another_encoding_with_empty_cells(tmp_path):
    """The three choices of one file."""
    rows = "".join(f"caf\u00e9 {i};{'good' if i % 2 else 'bad'}\n" for i in range(20)) + ";good\n"
    (tmp_path / "mine.csv").write_bytes(f"text;kind\n{rows}".encode("cp1252"))
    with pytest.warns(UserWarning, match="1 of 21 rows have no text and were left out"):
        task = own_task(
            tmp_path / "mine.csv", ["text"], "kind", 2, labels={0: "good", 1: "bad"}, encoding="cp1252", on_empty="skip"
        )
    for text, label in task.train.itertuples(index=False):
        assert text.startswith("caf\u00e9") and label == 1 - int(text.split()[1]) % 2


def test_regression_takes_any_number(tmp_path):
    path = tmp_path / "scores.csv"
    table().assign(kind=lambda frame: frame["kind"] - 0.5).to_csv(path, index=False)
    task = own_task(path, ["text"], "kind", 1, held_out=0.5)
    assert task.spec.is_regression and task.spec.metrics == ("pearson", "spearman") and task.spec.majority is None
    assert sorted(task.train["label"].unique()) == [-0.5, 0.5]


def test_it_can_be_trained_on(tmp_path, tiny_bert, word_tokenizer):
    task = own_task(table(), ["text"], "kind", 2, max_length=8, batch_size=8)
    result = train(
        tiny_bert(), PLANS["finetune"](1.0), task, word_tokenizer, tmp_path,
        TrainSettings(learning_rate=1e-3, batch_size=8, seed=0, evaluations=1),
    )  # fmt: skip
    assert set(result.best) == {"accuracy", "f1"} and result.history[-1]["step"] == 4


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"columns": ["sentence"]}, "the data frame has no column 'sentence': it has 'text', 'kind'"),
        ({}, {"columns": ["kind"]}, r"columns are \['kind'\] and the labels' is 'kind': give different"),
        ({}, {"columns": ["text", "text"]}, r"columns are \['text', 'text'\] .*: give different"),
        ({}, {"columns": None}, "columns is None, expected a list of one text column"),
        ({}, {"columns": "text"}, "columns is 'text', expected a list of one text column"),
        ({}, {"columns": ["text", "kind", "text"]}, "expected a list of one text column, or of the two of a pair"),
        ({"text": ["w1", " "] * 20}, {}, r"row 2 has no text in 'text' \(' '\), 20 rows in all: leave them out"),
        ({"kind": [1, 2] * 20}, {}, "row 2 has the label 2 in .*from 0 to 1.*renumber 20 labels"),
        ({"kind": [0, 0.5] * 20}, {}, "row 2 has the label 0.5 in 'kind', expected an integer"),
        ({}, {"num_labels": 0}, "num_labels is 0, expected an integer of at least 1: the number of classes"),
        ({}, {"held_out": 1.0}, "held_out is 1.0, expected a share between 0 and 1"),
        ({"kind": [1] + [0] * 39}, {}, "8 of 40 rows cannot be held out: the rarest class has 1 rows"),
        ({}, {"held_out": 0.01}, "0 of 40 rows cannot be held out"),
    ],
)
def test_tables_that_are_refused(change, arguments, message):
    given = {"columns": ["text"], "label": "kind", "num_labels": 2} | arguments
    with pytest.raises(ValueError, match=message):
        own_task(table().assign(**change), **given)


def test_a_text_column_called_label(word_tokenizer):
    frame = table().rename(columns={"text": "label"})
    task = own_task(frame, ["label"], "kind", 2)
    assert task.spec.columns == ("label (text)",) and sorted(task.train["label"].unique()) == [0, 1]
    assert set(task.train["label (text)"]) <= set(frame["label"])
    assert len(encode(task.train, task.spec, word_tokenizer)[0]["input_ids"]) == 4


@pytest.mark.parametrize("classes", [1, 2])
def test_labels_of_one_kind_alone(classes):
    same, mixed = table().assign(kind=1), table()
    for arguments in ({"source": same}, {"source": same, "evaluation": mixed}, {"source": mixed, "evaluation": same}):
        with pytest.raises(
            ValueError, match="all 40 rows have the label 1.*, which a constant answer gets right: give"
        ):
            own_task(columns=["text"], label="kind", num_labels=classes, **arguments)


def test_classes_without_an_example_are_named():
    with pytest.warns(UserWarning, match=r"of 4 classes, 2 have no example \(sad, odd\)"):
        own_task(table(), ["text"], "kind", 4, labels=dict(enumerate(["bad", "good", "sad", "odd"])))


def test_examples_that_are_in_both_parts():
    frame = table()
    with pytest.warns(UserWarning, match="5 of 6 examples to evaluate on are also trained on"):
        own_task(frame, ["text"], "kind", 2, evaluation=pd.concat([frame.head(5), frame.tail(1).assign(text="new")]))
    with pytest.warns(UserWarning, match="of 8 examples to evaluate on are also trained on"):
        own_task(pd.concat([frame.head(20)] * 2), ["text"], "kind", 2)


def test_a_data_set_that_orders_its_classes_otherwise():
    """Its numbers alone would be taken for the classifier's."""
    kinds = datasets.ClassLabel(names=["good", "bad"])
    features = datasets.Features({"text": datasets.Value("string"), "kind": kinds})
    source = datasets.Dataset.from_pandas(table(), features=features)
    task = own_task(source, ["text"], "kind", 2, labels={0: "bad", 1: "good"})
    for text, label in task.train.itertuples(index=False):
        assert label == 1 - int(text.split()[0][1:]) % 2  # an even number is 0 there, which is good
    unnamed = own_task(source, ["text"], "kind", 2, labels={0: "LABEL_0", 1: "LABEL_1"})
    assert all(label == int(text.split()[0][1:]) % 2 for text, label in unnamed.train.itertuples(index=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_length": 2},
            r"max_length is 2, expected an integer of at least 3: \[CLS\], \[SEP\] and a piece of each",
        ),
        ({"batch_size": 0}, "batch_size is 0, expected an integer of at least 1"),
    ],
)
def test_settings_that_leave_nothing_to_learn(options, message):
    with pytest.raises(ValueError, match=message):
        own_task(table(), ["text"], "kind", 2, **options)

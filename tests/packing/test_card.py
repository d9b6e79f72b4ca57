import pytest

from xtcq import ModelCard, QuantConfig, freeze, model_size, quantize, save_packed
from xtcq.quantization import QuantLinear

MIB = 2**20


def test_the_card_states_what_is_known(frozen_bert, word_tokenizer, tmp_path):
    card = ModelCard(
        task="Words",
        metrics={"accuracy": 91.25},
        evaluated_on="48 sentences",
        teacher="words 32-32-32",
        base_model="google-bert/bert-base-uncased",
        licence="apache-2.0",
    )
    model = frozen_bert(lora_rank=1)
    folder = save_packed(model, tmp_path / "m", tokenizer=word_tokenizer, card=card)
    text = (folder / "README.md").read_text()
    for line in (
        "license: apache-2.0",
        "base_model: google-bert/bert-base-uncased",
        "pipeline_tag: text-classification",
        "| task | Words |",
        "| teacher | words 32-32-32 |",
        "| accuracy | 91.2 |",
        "| low-rank term | rank 1 |",
        f"| nominal size, as the papers count | {model_size(model).nominal_mib:.2f} MiB |",
        "| onnxruntime | `python -m xtcq predict`, or `python -m xtcq export . --to onnx` |",
        f"| size of the file | {(folder / 'packed.safetensors').stat().st_size / MIB:.2f} MiB",
    ):
        assert line in text, text


@pytest.mark.parametrize("value", [None, float("nan"), "91"])
def test_a_score_is_a_number(value):
    with pytest.raises(ValueError, match="the card's metrics have accuracy .*, expected a number, in per cent"):
        ModelCard(metrics={"accuracy": value})


def test_a_card_is_no_text(frozen_bert, tmp_path):
    with pytest.raises(ValueError, match=r"card is 'mine', expected ModelCard\(task="):
        save_packed(frozen_bert(), tmp_path / "m", card="mine")


def test_the_card_of_a_mixed_model_has_the_averages(frozen_bert, tmp_path):
    model = frozen_bert("4-4-4", "adaqat", bits=(1, 2, 3, 5, 8))
    widths = [layer.bits for layer in model.modules() if isinstance(layer, QuantLinear)]
    text = (save_packed(model, tmp_path / "m") / "README.md").read_text()
    assert f"# BertForSequenceClassification at {sum(widths) / 13:.3g}-4-4\n" in text


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "BertForQuestionAnswering"])
def test_the_code_of_the_card_runs(frozen_bert, word_tokenizer, tmp_path, monkeypatch, kind):
    questions = kind == "BertForQuestionAnswering"
    model = frozen_bert(kind=kind, num_labels=2 if questions else 3)
    folder = save_packed(model, tmp_path / "m", tokenizer=word_tokenizer)
    text = (folder / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    names = {}
    exec(code, names)
    assert ("pipeline(" in text) != questions and ("xtcq predict`, or" in text) != questions
    if questions:
        assert names["outputs"].start_logits.shape == names["outputs"].end_logits.shape
    else:
        assert names["outputs"].logits.shape == (1, 3)


def test_the_card_says_what_was_left_out_and_where_to_get_the_library(tiny_bert, tmp_path):
    left = "bert.encoder.layer.1.intermediate.dense"
    model = quantize(tiny_bert(layers=2), QuantConfig("1-1-8"), exclude=left)
    card = ModelCard(task="a | b\n# no heading")
    text = (save_packed(freeze(model), tmp_path / "m", card=card) / "README.md").read_text()
    assert f"| left in floating point | {left} |" in text and "| task | a \\| b # no heading |" in text
    assert "`pip install git+https://github.com/xtcq/xtcq`" in text
    model = quantize(tiny_bert(layers=2), QuantConfig("1-1-8"), include="*.query")
    text = (save_packed(freeze(model), tmp_path / "n") / "README.md").read_text()
    assert "layer.0.intermediate.dense and 6 more |" in text


def test_the_card_without_facts_does_not_invent_them(frozen_bert, tmp_path):
    text = (save_packed(frozen_bert(), tmp_path / "m") / "README.md").read_text()
    assert "| task | not stated |" in text and "| licence | not stated |" in text
    assert "license:" not in text and "Scores" not in text and "AutoTokenizer" not in text

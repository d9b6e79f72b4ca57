import dataclasses

import pytest
import torch
from transformers import BertConfig, RobertaConfig, RobertaForSequenceClassification

from xtcq.preflight import check_tokenizer, check_training, problem_type
from xtcq.quantization import QuantConfig, freeze, quantize


@pytest.mark.parametrize(
    ("stated", "labels", "expected"),
    [
        (None, 1, "regression"),
        (None, 2, "single_label_classification"),
        ("regression", 1, "regression"),
        ("single_label_classification", 5, "single_label_classification"),
        ("multi_label_classification", 1, "multi_label_classification"),
        ("multi_label_classification", 3, "multi_label_classification"),
    ],
)
def test_what_outputs_mean(stated, labels, expected):
    config = BertConfig(num_labels=labels, problem_type=stated)
    assert problem_type(config) == expected
    assert config.problem_type == stated  # nothing is written


@pytest.mark.parametrize(
    ("stated", "labels", "message"),
    [
        ("regression", 2, "'regression' with 2 outputs, expected one: .* a model of its own"),
        ("single_label_classification", 1, "with 1 label, which is always the answer: set config.problem_type"),
    ],
)
def test_outputs_that_mean_nothing_here(stated, labels, message, tiny_bert):
    model = tiny_bert(num_labels=labels)
    model.config.problem_type = stated
    for verb in (lambda: problem_type(model.config), lambda: quantize(model, QuantConfig("1-1-8"))):
        with pytest.raises(ValueError, match=message):
            verb()


def test_a_kind_that_transformers_does_not_know():
    config = BertConfig()
    config.problem_type = "ranking"
    with pytest.raises(ValueError, match="problem_type of the configuration is 'ranking', expected one of 'single_"):
        problem_type(config)


def test_a_table_larger_than_the_vocabulary_is_no_fault(word_tokenizer):
    for size in (101, 104, 30522):
        check_tokenizer(word_tokenizer, BertConfig(vocab_size=size))
    with pytest.raises(ValueError, match="as 100, and the model's table of tokens ends at 99: call model.resize_token"):
        check_tokenizer(word_tokenizer, BertConfig(vocab_size=100))


def multi_label(model):
    model.config.problem_type = "multi_label_classification"
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bert: freeze(quantize(bert(), QuantConfig("1-1-8"))), "is frozen: its weights are integers, which do"),
        (
            lambda bert: bert().requires_grad_(False),
            "no parameter of BertForSequenceClassification requires a gradient",
        ),
        (lambda bert: bert().half(), "is torch.float16, expected torch.float32: call model.float"),
        (
            lambda bert: bert(num_labels=3),
            "'single_label_classification' with 3 labels and task 'words' .* with 2: give",
        ),
        (lambda bert: bert(num_labels=1), "'regression' with 1 labels and task 'words' 'single_label_classification'"),
        (lambda bert: multi_label(bert()), "'multi_label_classification' with 2 .* DistillationLoss in a loop of your"),
    ],
    ids="frozen fixed half labels regression multi-label".split(),
)
def test_students_that_cannot_be_trained(change, message, tiny_bert, word_task, word_tokenizer):
    with pytest.raises(ValueError, match=message):
        check_training(change(tiny_bert), None, word_tokenizer, word_task.spec)


def test_examples_longer_than_what_a_model_reads(tiny_bert, word_task, word_tokenizer):
    """Student and teacher have 64 positions each; RoBERTa leaves out those up to its padding token's number."""
    student, teacher = tiny_bert(), tiny_bert()
    fits, longer = (dataclasses.replace(word_task.spec, max_length=length) for length in (64, 65))
    check_training(student, teacher, word_tokenizer, fits)
    with pytest.raises(ValueError, match="up to 65 word pieces and the student reads 64: give the task max_length=64"):
        check_training(student, teacher, word_tokenizer, longer)
    teacher.config.max_position_embeddings = 32
    with pytest.raises(ValueError, match="up to 64 word pieces and the teacher reads 32"):
        check_training(student, teacher, word_tokenizer, fits)
    sizes = {"vocab_size": 101, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = RobertaConfig(**sizes, intermediate_size=8, max_position_embeddings=66, pad_token_id=1)
    model = RobertaForSequenceClassification(config)
    check_training(model, None, word_tokenizer, fits)
    assert model(torch.full((1, 64), 5)).logits.isfinite().all()
    with pytest.raises(ValueError, match="up to 65 word pieces and the student reads 64"):
        check_training(model, None, word_tokenizer, longer)

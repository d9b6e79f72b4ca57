import copy
import dataclasses
import warnings

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from xtcq.distillation import reduce_layers
from xtcq.quantization import QuantConfig, freeze, quantize, use_score_attention
from xtcq.tasks import Task
from xtcq.training.preflight import check_task, check_training, warn_of_texts


@pytest.fixture
def check(word_tokenizer, word_task):
    """Ask for a training on the word task, some of whose facts may be others."""

    def ask(student, teacher=None, tokenizer=word_tokenizer, **facts):
        check_training(student, teacher, tokenizer, dataclasses.replace(word_task.spec, **facts))

    return ask


def multi_label(model):
    model.config.problem_type = "multi_label_classification"
    return model


KINDS = [
    (lambda bert: freeze(quantize(bert(), QuantConfig("1-1-8"))), "is frozen: its weights are integers, which do"),
    (lambda bert: bert().requires_grad_(False), "no parameter of BertForSequenceClassification requires a gradient"),
    (lambda bert: bert(num_labels=3), "'single_label_classification' with 3 labels and task 'words' .* with 2: give"),
    (lambda bert: bert(num_labels=1), "'regression' with 1 labels and task 'words' 'single_label_classification'"),
    (lambda bert: multi_label(bert()), "'multi_label_classification' with 2 .* DistillationLoss in a loop of your"),
]


@pytest.mark.parametrize(("change", "message"), KINDS, ids="frozen fixed labels regression multi-label".split())
def test_students_that_cannot_be_trained(change, message, tiny_bert, check):
    with pytest.raises(ValueError, match=message):
        check(change(tiny_bert))


def test_examples_longer_than_what_a_model_reads(tiny_bert, check):
    """Student and teacher have 64 positions each; RoBERTa leaves out those up to its padding token's number."""
    student, teacher = tiny_bert(), tiny_bert()
    check(student, teacher, max_length=64)
    with pytest.raises(ValueError, match="up to 65 word pieces and the student reads 64: give the task max_length=64"):
        check(student, teacher, max_length=65)
    teacher.config.max_position_embeddings = 32
    resized("position_embeddings", 32)(teacher)
    with pytest.raises(ValueError, match="up to 64 word pieces and the teacher reads 32"):
        check(student, teacher, max_length=64)
    sizes = {"vocab_size": 101, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = RobertaConfig(**sizes, intermediate_size=8, max_position_embeddings=66, pad_token_id=1)
    model = RobertaForSequenceClassification(config)
    check(model, max_length=64)
    assert model(torch.full((1, 64), 5)).logits.isfinite().all()
    with pytest.raises(ValueError, match="up to 65 word pieces and the student reads 64"):
        check(model, max_length=65)


def test_pairs_for_a_model_that_reads_none(tiny_bert, check):
    pairs = ("a", "b")
    student, teacher = tiny_bert(), tiny_bert()
    check(student, teacher, columns=pairs)
    student.config.num_texts = 1  # it may learn to
    check(student, teacher, columns=pairs)
    teacher.config.num_texts = 1
    with pytest.raises(ValueError, match="the teacher was trained on 1 texts an example, and task 'words' has 2: give"):
        check(student, teacher, columns=pairs)
    single = BertForSequenceClassification(BertConfig(**student.config.to_dict() | {"type_vocab_size": 1}))
    check(single)
    for models, role in (((single, None), "student"), ((student, single), "teacher")):
        with pytest.raises(ValueError, match=f"tokenizer marks as type 1, and the {role} has type_vocab_size 1: take"):
            check(*models, columns=pairs)


def cut(model):
    model.bert.encoder.layer = model.bert.encoder.layer[:1]


def resized(part, rows):
    def change(model):
        setattr(model.bert.embeddings, part, nn.Embedding(rows, 32))

    return change


def other_head(model):
    model.classifier = nn.Linear(32, 5)


def named(**names):
    return lambda model: setattr(model.config, "id2label", {int(key[1:]): name for key, name in names.items()})


UNLIKE = [
    (cut, "num_hidden_layers 2, and it has 1: change both"),
    (resized("word_embeddings", 90), "vocab_size 101, and it has 90"),
    (resized("position_embeddings", 32), "max_position_embeddings 64, and it has 32"),
    (other_head, "num_labels 2, and it has 5"),
    (named(_0="bad", _2="good"), "id2label is {0: 'bad', 2: 'good'}, expected a name of its own for each of 0 to 1"),
    (named(_0="bad", _1="bad"), "id2label is {0: 'bad', 1: 'bad'}"),
]


@pytest.mark.parametrize(("change", "message"), UNLIKE, ids=["layers", "tokens", "positions", "head", "gap", "twice"])
def test_models_that_are_not_what_their_configuration_says(change, message, tiny_bert, check):
    model = tiny_bert()
    change(model)
    before = [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match=message):
        quantize(model, QuantConfig("1-1-8"))
    assert [type(module) for module in model.modules()] == before
    for student, teacher in ((model, tiny_bert()), (tiny_bert(), model)):
        with pytest.raises(ValueError, match=message):
            check(student, teacher)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_wrapped_models_are_named_with_what_is_in_them(wrap, tiny_bert, check):
    inner = "module" if wrap is nn.DataParallel else "_orig_mod"
    verbs = (
        lambda model: quantize(model, QuantConfig("1-1-8")),
        use_score_attention,
        check,
        lambda model: check(tiny_bert(), model),
    )
    for verb in verbs:
        with pytest.raises(ValueError, match=rf"wrapped in \w+: give \w+.{inner}, the BertForSequenceClassification"):
            verb(wrap(tiny_bert()))


@pytest.mark.parametrize("merged_by", ["merge_and_unload", "_hf_peft_config_loaded"])
def test_adapters_of_peft_are_named(merged_by, tiny_bert, check):
    """A PeftModel has the first; the second is of transformers, whose Trainer would save the adapter alone."""
    model = tiny_bert()
    setattr(model, merged_by, True)
    verbs = (
        lambda: quantize(model, QuantConfig("1-1-8")),
        lambda: reduce_layers(model, [0]),
        lambda: use_score_attention(model),
        lambda: check(model),
        lambda: check(tiny_bert(), model),
    )
    for verb in verbs:
        with pytest.raises(ValueError, match="the .* holds an adapter of peft: merge it into the weights first"):
            verb()


def test_a_teacher_that_is_its_own_student(tiny_bert, check):
    teacher = tiny_bert()
    student = quantize(teacher, QuantConfig("1-1-8"))
    with pytest.raises(ValueError, match="share 41 parameters, bert.embeddings.word_embeddings.weight first"):
        check(student, teacher)
    teacher = tiny_bert()
    check(quantize(reduce_layers(teacher, [0, 1]), QuantConfig("1-1-8")), teacher)


def test_classes_in_another_order_than_the_teachers(tiny_bert, check):
    student, teacher = tiny_bert(), tiny_bert()
    named(_0="good", _1="bad")(student)
    check(student, teacher)  # LABEL_0 says nothing of an order
    named(_0="bad", _1="good")(teacher)
    with pytest.raises(ValueError, match="classes are {0: 'good', 1: 'bad'} and the teacher's {0: 'bad', 1: 'good'}"):
        check(student, teacher)


def without_values(model):
    return model.to("meta")


def with_nan(model):
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.bias[3] = float("nan")
    return model


def quantized_by_others(model):
    model.bert.pooler.dense.weight = nn.Parameter(torch.ones(32, 32, dtype=torch.int8), requires_grad=False)
    return model


class Codes(torch.Tensor):
    """Weights that another library holds in its own way."""


def held_by_others(model):
    model.bert.pooler.dense.weight = nn.Parameter(torch.ones(32, 32).as_subclass(Codes))
    return model


def packed_by_others(model):
    model.bert.pooler.dense = torch.ao.nn.quantized.dynamic.Linear(32, 32)
    return model


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (quantized_by_others, "pooler.dense.weight of the {role} is a Parameter .torch.int8., which another"),
        (held_by_others, "pooler.dense.weight of the {role} is a Codes .torch.float32., which another"),
        (packed_by_others, "pooler.dense.* of the {role} is a .*, which another library quantized or"),
        (without_values, "word_embeddings.weight of the {role} is on the meta device and has no values"),
        (with_nan, "layer.1.output.dense.bias of the {role} holds NaN or infinity"),
        (lambda model: model.double(), "is torch.float64, expected torch.float32"),
        (lambda model: BertModel(model.config), "{role} is a BertModel, and task 'words' needs .*ForSequenceClassifi"),
        (lambda model: nn.Linear(2, 2), "the {role} is a torch.nn.modules.linear.Linear, expected a model of transf"),
    ],
)
def test_models_that_nothing_can_be_computed_with(change, message, tiny_bert, check):
    changed, other = change(tiny_bert()), copy.deepcopy(tiny_bert())
    for role, models in {"student": (changed, other), "teacher": (other, changed)}.items():
        with pytest.raises(ValueError, match=message.format(role=role)):
            check(*models)


def test_gradients_that_are_switched_off(tiny_bert, check):
    with torch.no_grad(), pytest.raises(ValueError, match="gradients are switched off here"):
        check(tiny_bert())


def test_texts_of_another_tokenizer_and_long_ones(word_tokenizer):
    unknown = word_tokenizer.unk_token_id
    few, many = [[*range(5, 15), unknown]], [[5, 6, unknown, 7]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_texts(few * 10 + [[5] * 8], word_tokenizer, 20)
        warn_of_texts(few * 9 + [[5] * 20], word_tokenizer, 20)
    with pytest.warns(UserWarning, match="of 4 word pieces 25 % are unknown to the tokenizer"):
        warn_of_texts(many, word_tokenizer, 20)
    with pytest.warns(UserWarning, match="2 of 10 examples fill all 20 word pieces, and what is beyond is cut"):
        warn_of_texts(few * 8 + [[5] * 20] * 2, word_tokenizer, 20)


@pytest.mark.parametrize("given", [None, "bert-base-uncased", "a tokenizer of another library"])
def test_what_is_no_tokenizer(given, tiny_bert, word_tokenizer, check):
    tokenizer = word_tokenizer.backend_tokenizer if given and "another" in given else given
    with pytest.raises(ValueError, match=f"the tokenizer is a {type(tokenizer).__name__}, expected one of transf"):
        check(tiny_bert(), tokenizer=tokenizer)


def test_a_tokenizer_that_ends_before_the_task_does(tiny_bert, word_task, word_tokenizer, check):
    """Training would see more of a text than the packed model is given."""
    word_tokenizer.model_max_length = word_task.spec.max_length
    check(tiny_bert())
    word_tokenizer.model_max_length -= 1
    with pytest.raises(ValueError, match="ends at 15 word pieces, and task 'words' trains on up to 16: set tokenizer"):
        check(tiny_bert())


def test_a_student_of_which_a_part_was_replaced(tiny_bert, check):
    student = quantize(tiny_bert(), QuantConfig("1-1-8"))
    student.bert.encoder.layer[0].output.dense = nn.Linear(128, 32)
    for models in ((student, None), (tiny_bert(), student)):
        with pytest.raises(ValueError, match="were replaced or removed, bert.encoder.layer.0.output.dense first"):
            check(*models)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", 2, "words': row 3 has the label 2 in 'label', expected an integer from 0 to 1"),
        ("label", "good", "row 3 has the label 'good'"),
        ("sentence", None, "'validation' of task 'words': row 3 has None in 'sentence', expected a text"),
        ("sentence", 7.5, "row 3 has 7.5 in 'sentence', expected a text"),
    ],
)
def test_a_table_that_was_made_by_hand(column, value, message, word_task):
    check_task(word_task)
    frame = word_task.evaluation["validation"].astype(object)
    frame.loc[2, column] = value
    with pytest.raises(ValueError, match=message):
        check_task(Task(word_task.spec, word_task.train, {"validation": frame}))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"columns": ("text",)}, "'train' of task 'words' has no column 'text': it has 'sentence', 'label'"),
        ({"metrics": ("precision",)}, "metric of task 'words' with 2 labels is 'precision', expected one of"),
        ({"metrics": ("f1",), "num_labels": 3}, "metric of task 'words' with 3 labels is 'f1'"),
        ({"num_labels": 1}, "metric of task 'words' with 1 labels is 'accuracy', expected one of 'pearson'"),
    ],
)
def test_facts_of_a_task_that_were_made_by_hand(facts, message, word_task):
    with pytest.raises(ValueError, match=message):
        check_task(dataclasses.replace(word_task, spec=dataclasses.replace(word_task.spec, **facts)))

import copy
import dataclasses
import warnings

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from xtcq.distillation import reduce_layers
from xtcq.quantization import QuantConfig, freeze, quantize, use_score_attention
from xtcq.tasks import Task
from xtcq.training.preflight import check_task, check_training, warn_of_texts


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
    resized("position_embeddings", 32)(teacher)
    with pytest.raises(ValueError, match="up to 64 word pieces and the teacher reads 32"):
        check_training(student, teacher, word_tokenizer, fits)
    sizes = {"vocab_size": 101, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = RobertaConfig(**sizes, intermediate_size=8, max_position_embeddings=66, pad_token_id=1)
    model = RobertaForSequenceClassification(config)
    check_training(model, None, word_tokenizer, fits)
    assert model(torch.full((1, 64), 5)).logits.isfinite().all()
    with pytest.raises(ValueError, match="up to 65 word pieces and the student reads 64"):
        check_training(model, None, word_tokenizer, longer)


def test_pairs_for_a_model_that_reads_none(tiny_bert, word_task, word_tokenizer):
    pairs = dataclasses.replace(word_task.spec, columns=("a", "b"))
    student, teacher = tiny_bert(), tiny_bert()
    check_training(student, teacher, word_tokenizer, pairs)
    student.config.num_texts = 1  # it may learn to
    check_training(student, teacher, word_tokenizer, pairs)
    teacher.config.num_texts = 1
    with pytest.raises(ValueError, match="the teacher was trained on 1 texts an example, and task 'words' has 2: give"):
        check_training(student, teacher, word_tokenizer, pairs)
    single = BertForSequenceClassification(BertConfig(**student.config.to_dict() | {"type_vocab_size": 1}))
    check_training(single, None, word_tokenizer, word_task.spec)
    for models, role in (((single, None), "student"), ((student, single), "teacher")):
        with pytest.raises(ValueError, match=f"tokenizer marks as type 1, and the {role} has type_vocab_size 1: take"):
            check_training(*models, word_tokenizer, pairs)


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
def test_models_that_are_not_what_their_configuration_says(change, message, tiny_bert, word_task, word_tokenizer):
    model = tiny_bert()
    change(model)
    before = [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match=message):
        quantize(model, QuantConfig("1-1-8"))
    assert [type(module) for module in model.modules()] == before
    for student, teacher in ((model, tiny_bert()), (tiny_bert(), model)):
        with pytest.raises(ValueError, match=message):
            check_training(student, teacher, word_tokenizer, word_task.spec)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_wrapped_models_are_named_with_what_is_in_them(wrap, tiny_bert, word_task, word_tokenizer):
    inner = "module" if wrap is nn.DataParallel else "_orig_mod"
    verbs = (
        lambda model: quantize(model, QuantConfig("1-1-8")),
        use_score_attention,
        lambda model: check_training(model, None, word_tokenizer, word_task.spec),
        lambda model: check_training(tiny_bert(), model, word_tokenizer, word_task.spec),
    )
    for verb in verbs:
        with pytest.raises(ValueError, match=rf"wrapped in \w+: give \w+.{inner}, the BertForSequenceClassification"):
            verb(wrap(tiny_bert()))


@pytest.mark.parametrize("merged_by", ["merge_and_unload", "_hf_peft_config_loaded"])
def test_adapters_of_peft_are_named(merged_by, tiny_bert, word_task, word_tokenizer):
    """A PeftModel has the first; the second is of transformers, whose Trainer would save the adapter alone."""
    model = tiny_bert()
    setattr(model, merged_by, True)
    verbs = (
        lambda: quantize(model, QuantConfig("1-1-8")),
        lambda: reduce_layers(model, [0]),
        lambda: use_score_attention(model),
        lambda: check_training(model, None, word_tokenizer, word_task.spec),
        lambda: check_training(tiny_bert(), model, word_tokenizer, word_task.spec),
    )
    for verb in verbs:
        with pytest.raises(ValueError, match="the .* holds an adapter of peft: merge it into the weights first"):
            verb()


def test_a_teacher_that_is_its_own_student(tiny_bert, word_task, word_tokenizer):
    teacher = tiny_bert()
    student = quantize(teacher, QuantConfig("1-1-8"))
    with pytest.raises(ValueError, match="share 41 parameters, bert.embeddings.word_embeddings.weight first"):
        check_training(student, teacher, word_tokenizer, word_task.spec)
    teacher = tiny_bert()
    check_training(
        quantize(reduce_layers(teacher, [0, 1]), QuantConfig("1-1-8")), teacher, word_tokenizer, word_task.spec
    )


def test_classes_in_another_order_than_the_teachers(tiny_bert, word_task, word_tokenizer):
    student, teacher = tiny_bert(), tiny_bert()
    named(_0="good", _1="bad")(student)
    check_training(student, teacher, word_tokenizer, word_task.spec)  # LABEL_0 says nothing of an order
    named(_0="bad", _1="good")(teacher)
    with pytest.raises(ValueError, match="classes are {0: 'good', 1: 'bad'} and the teacher's {0: 'bad', 1: 'good'}"):
        check_training(student, teacher, word_tokenizer, word_task.spec)


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
        (
            quantized_by_others,
            "pooler.dense.weight of the {role} is a Parameter \\(torch.int8\\), which another",
        ),
        (
            held_by_others,
            "pooler.dense.weight of the {role} is a Codes \\(torch.float32\\), which another",
        ),
        (packed_by_others, "pooler.dense.* of the {role} is a .*, which another library quantized or"),
        (without_values, "word_embeddings.weight of the {role} is on the meta device and has no values"),
        (with_nan, "layer.1.output.dense.bias of the {role} holds NaN or infinity"),
        (lambda model: model.double(), "is torch.float64, expected torch.float32"),
        (
            lambda model: BertForTokenClassification(model.config),
            "the {role} is a BertForTokenClassification, and task 'words' needs .*ForSequenceClassification",
        ),
        (lambda model: BertModel(model.config), "the {role} is a BertModel, and task 'words' needs"),
        (lambda model: nn.Linear(2, 2), "the {role} is a torch.nn.modules.linear.Linear, expected a model of transf"),
    ],
)
def test_models_that_nothing_can_be_computed_with(change, message, tiny_bert, word_task, word_tokenizer):
    changed, other = change(tiny_bert()), copy.deepcopy(tiny_bert())
    for role, models in {"student": (changed, other), "teacher": (other, changed)}.items():
        with pytest.raises(ValueError, match=message.format(role=role)):
            check_training(*models, word_tokenizer, word_task.spec)


def test_gradients_that_are_switched_off(tiny_bert, word_task, word_tokenizer):
    with torch.no_grad(), pytest.raises(ValueError, match="gradients are switched off here"):
        check_training(tiny_bert(), None, word_tokenizer, word_task.spec)


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
def test_what_is_no_tokenizer(given, tiny_bert, word_task, word_tokenizer):
    tokenizer = word_tokenizer.backend_tokenizer if given and "another" in given else given
    with pytest.raises(ValueError, match=f"the tokenizer is a {type(tokenizer).__name__}, expected one of transf"):
        check_training(tiny_bert(), None, tokenizer, word_task.spec)


def test_a_tokenizer_that_ends_before_the_task_does(tiny_bert, word_task, word_tokenizer):
    """Training would see more of a text than the packed model is given."""
    word_tokenizer.model_max_length = word_task.spec.max_length
    check_training(tiny_bert(), None, word_tokenizer, word_task.spec)
    word_tokenizer.model_max_length -= 1
    with pytest.raises(ValueError, match="ends at 15 word pieces, and task 'words' trains on up to 16: set tokenizer"):
        check_training(tiny_bert(), None, word_tokenizer, word_task.spec)


def test_a_student_of_which_a_part_was_replaced(tiny_bert, word_task, word_tokenizer):
    student = quantize(tiny_bert(), QuantConfig("1-1-8"))
    student.bert.encoder.layer[0].output.dense = nn.Linear(128, 32)
    for models in ((student, None), (tiny_bert(), student)):
        with pytest.raises(
            ValueError, match="converted were replaced or removed, bert.encoder.layer.0.output.dense fir"
        ):
            check_training(*models, word_tokenizer, word_task.spec)


@pytest.mark.parametrize(
    ("facts", "column", "value", "message"),
    [
        (
            {},
            "label",
            2,
            "'validation' of task 'words': row 3 has the label 2 in 'label', expected an integer from 0 to 1",
        ),
        ({}, "label", "good", "row 3 has the label 'good'"),
        ({}, "sentence", None, "'validation' of task 'words': row 3 has None in 'sentence', expected a text"),
        ({}, "sentence", 7.5, "row 3 has 7.5 in 'sentence', expected a text"),
        (
            {"columns": ("text",)},
            "label",
            1,
            "'train' of task 'words' has no column 'text': it has 'sentence', 'label'",
        ),
        (
            {"metrics": ("precision",)},
            "label",
            1,
            "metric of task 'words' with 2 labels is 'precision', expected one of",
        ),
        ({"metrics": ("f1",), "num_labels": 3}, "label", 1, "metric of task 'words' with 3 labels is 'f1'"),
        (
            {"num_labels": 1},
            "label",
            1,
            "metric of task 'words' with 1 labels is 'accuracy', expected one of 'pearson'",
        ),
    ],
)
def test_a_task_that_was_made_by_hand(facts, column, value, message, word_task):
    check_task(word_task)
    frame = word_task.evaluation["validation"].astype(object)
    frame.loc[2, column] = value
    spec = dataclasses.replace(word_task.spec, **facts)
    with pytest.raises(ValueError, match=message):
        check_task(Task(spec, word_task.train, {"validation": frame}))

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from xtcq.distillation import PLANS
from xtcq.quantization import use_score_attention
from xtcq.tasks import own_task
from xtcq.training import TrainSettings, train
from xtcq.training.teacher import TeacherWarning, check_teacher, renumbering


class Knowing(torch.nn.Module):
    """Answers the class whose word, w1, w2 or w3, begins the text."""

    def __init__(self, tokenizer, classes, answers):
        super().__init__()
        self.words, self.device = tokenizer(["w1 w2 w3"])["input_ids"][0][1:4][:classes], torch.device("cpu")
        self.config, self.answers = type("Config", (), {"id2label": dict(enumerate("abc"))}), answers

    def forward(self, input_ids, **inputs):
        known = torch.stack([input_ids[:, 1] == word for word in self.words], 1).float()
        return type("Output", (), {"logits": known[:, self.answers]})


def task(kinds, rows=60, **options):
    texts = [f"w{1 + i % 3} w{i % 90}" for i in range(rows)]
    table = pd.DataFrame({"text": texts, "kind": [kinds[i % 3] for i in range(rows)]})
    return own_task(table, ["text"], "kind", 3, evaluation=table, max_length=8, **options)


def said_of(teacher, of_task, tokenizer):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_teacher(teacher, of_task, tokenizer)
    return [str(warning.message) for warning in caught if warning.category is TeacherWarning]


def test_a_teacher_that_knows_its_task_is_silent(word_tokenizer):
    assert said_of(Knowing(word_tokenizer, 3, [0, 1, 2]), task([0, 1, 2]), word_tokenizer) == []


def test_another_numbering_of_the_classes_is_named(word_tokenizer):
    (message,) = said_of(Knowing(word_tokenizer, 3, [0, 1, 2]), task([2, 1, 0]), word_tokenizer)
    assert "right in 33.3 %, and would be in 100.0 %" in message and "2 for a, 1 for b, 0 for c" in message


def test_names_of_the_classes_give_their_numbers(word_tokenizer):
    teacher = Knowing(word_tokenizer, 3, [0, 1, 2])
    named = task(["a", "b", "c"], labels=teacher.config.id2label)
    assert said_of(teacher, named, word_tokenizer) == []


def test_a_teacher_at_the_majority_is_named(tiny_bert, word_tokenizer):
    texts = [f"w{i % 90}" for i in range(60)]
    table = pd.DataFrame({"text": texts, "kind": [i % 4 == 0 for i in range(60)]}).astype({"kind": int})
    of_task = own_task(table, ["text"], "kind", 2, evaluation=table, max_length=8)
    teacher = tiny_bert()
    with torch.no_grad():
        teacher.classifier.bias[0] += 100
    teacher.train()
    state = torch.get_rng_state()
    (message,) = said_of(teacher, of_task, word_tokenizer)
    assert (
        "on 60 examples the teacher is right in 75.0 %, and always answering the most frequent class in 75" in message
    )
    assert teacher.training and torch.equal(torch.get_rng_state(), state), "the training after it is the same"


@pytest.mark.parametrize(("scale", "warned"), [(1.0, False), (5.0, True)])
def test_a_regression_on_another_scale_is_named(scale, warned, word_tokenizer):
    teacher = Knowing(word_tokenizer, 1, [0])
    table = pd.DataFrame({"text": ["w1 w5", "w2 w5"] * 20, "score": [scale, scale - 1.0] * 20})
    of_task = own_task(table, ["text"], "score", 1, evaluation=table, max_length=8)
    assert bool(said_of(teacher, of_task, word_tokenizer)) == warned


@pytest.mark.parametrize("seed", range(20))
def test_answers_at_random_have_no_better_numbering(seed):
    rng = np.random.default_rng(seed)
    assert renumbering(rng.integers(0, 3, 200), rng.integers(0, 3, 200), 3) is None


def test_a_few_examples_tell_when_they_are_clear():
    assert renumbering([0, 1] * 7, [1, 0] * 7, 2) == [1, 0]
    assert renumbering([0, 1, 0], [1, 0, 0], 2) is None


def test_train_asks_before_it_trains(tiny_bert, word_tokenizer, tmp_path):
    table = pd.DataFrame({"text": ["w1", "w2"] * 12, "kind": [0, 1] * 12})
    of_task = own_task(table, ["text"], "kind", 2, evaluation=table, max_length=8, batch_size=8)
    student, teacher = use_score_attention(tiny_bert()), use_score_attention(tiny_bert())
    with torch.no_grad():
        teacher.classifier.bias[0] += 100
    settings = TrainSettings(learning_rate=1e-3, batch_size=8, seed=0, evaluations=1)
    with pytest.warns(TeacherWarning, match="right in 50.0 %, and always answering the most frequent class in 50.0 %"):
        train(student, PLANS["one-stage"](1.0), of_task, word_tokenizer, tmp_path, settings, teacher=teacher)

import dataclasses

import pytest
import torch
from xtcq_book.allocators import choices
from xtcq_book.allocators.program import cheapest
from xtcq_book.allocators.sensitivity import sensitivities
from xtcq_book.allocators.space import SearchSpace, random_widths

from xtcq.study import Experiment, trained_student

TEACHER = Experiment(task="demo-pairs", epochs=2, learning_rate=1e-3, evaluations=2)
STUDENT = dataclasses.replace(TEACHER, precision="8-4-8", recipe="adaqat", stages="one-stage", teacher=TEACHER)


@pytest.fixture
def chosen(taught, monkeypatch, word_task):
    """Choose widths for the small student, and return what is kept of them."""
    for name in ("task_spec", "load_task"):
        monkeypatch.setattr(choices, name, lambda _, made=name: word_task.spec if made == "task_spec" else word_task)

    def call(*wanted):
        choices.choose(STUDENT, list(wanted), share=0.25)
        return [choices.kept("demo-pairs")[choices.key(STUDENT, *one, 0.25)] for one in wanted]

    return call


def as_lists(widths):
    return {name: list(pair) for name, pair in widths.items()}


@pytest.fixture
def space(student):
    return SearchSpace.of(student)


def test_random_widths_cost_nothing(chosen, space):
    (found,) = chosen(("random", 12.0))
    assert found["widths"] == as_lists(random_widths(space, 12, STUDENT.seed))
    assert (found["steps"], found["passes"]) == (0, 0)


@pytest.mark.parametrize(("metric", "passes"), [("fisher", 16), ("hessian", 80)])
def test_a_sensitivity_is_that_of_the_teachers_weights(chosen, space, word_task, word_tokenizer, metric, passes):
    one, other = chosen((metric, 12.0), (metric, 20.0))
    data = list(choices.batches(word_task, word_tokenizer, 8, STUDENT.seed))
    teacher, _ = trained_student(TEACHER)
    costs = sensitivities(teacher, data, space, metric, 8, STUDENT.seed)
    assert one["widths"] == as_lists(cheapest(costs, space, 12))
    assert other["widths"] == as_lists(cheapest(costs, space, 20))
    assert one["passes"] == other["passes"] == passes and one["seconds"] > 0


def test_fracbits_explores_for_its_share_and_keeps_to_the_budget(chosen, space):
    (found,) = chosen(("fracbits", 12.0))
    assert found["steps"] == round(0.25 * STUDENT.steps)
    assert 11 < space.average(found["widths"]) <= 12


def test_what_is_kept_stays(chosen):
    before = chosen(("random", 12.0))
    chosen(("random", 20.0))
    assert [choices.kept("demo-pairs")[TEACHER.digest, "random", 12.0, 42, 0]] == before


def test_batches_are_drawn_once_each_and_follow_the_seed(word_task, word_tokenizer):
    def ids(most, seed):
        return [batch["input_ids"].tolist() for batch in choices.batches(word_task, word_tokenizer, most, seed)]

    assert ids(3, 1) == ids(3, 1) != ids(3, 2)
    assert [len(batch) for batch in ids(3, 1)] == [8, 8, 8]
    assert sum(map(len, ids(1000, 1))) == len(word_task.train)
    batch = next(choices.batches(word_task, word_tokenizer, 1, 0))
    assert set(batch) == {"input_ids", "token_type_ids", "attention_mask", "labels"}
    assert all(isinstance(value, torch.Tensor) for value in batch.values())

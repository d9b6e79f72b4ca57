from types import MappingProxyType

import pytest

from xtcq.allocation import Allocation
from xtcq.study import Experiment
from xtcq.study.budgets import paper_passes
from xtcq.study.evidence import find_pairs
from xtcq.study.ledger import Contrast, Spread

STAGES = Contrast({"precision": ("1-1-8",)}, ({"stages": ("one-stage",)},), ({"stages": ("two-stage",)},), ())


@pytest.fixture
def student(make_record):
    """A factory of Records of 1-bit students and their teacher."""

    def build(score, task="mrpc", stages="one-stage", teacher=None, **fields):
        teacher = teacher or Experiment(task=task, epochs=3, learning_rate=1e-4)
        return make_record(score, task=task, stages=stages, **{"precision": "1-1-8", "teacher": teacher} | fields)

    return build


def only(pairs):
    (pair,) = pairs
    return pair


def test_the_primary_metric_is_compared_within_a_task_and_seed(student):
    records = [
        student(80.0),
        student(78.5, stages="two-stage"),
        student(70.0, seed=111),  # no partner with this seed
        student(60.0, task="rte", stages="two-stage"),  # none with this task
    ]
    pair = only(find_pairs(STAGES, records))
    assert (pair.model, pair.tasks, pair.seeds) == ("minilm-l6", {"mrpc"}, {42})
    assert pair.effect == pytest.approx(1.5)


@pytest.mark.parametrize(
    "field",
    [{"learning_rate": 2e-4}, {"epochs": 9}, {"evaluations": 3}, {"lora_rank": 1}, {"layers": (1, 3, 5)}],
)
def test_what_differs_in_anything_else_is_no_pair(student, field):
    assert find_pairs(STAGES, [student(80.0), student(78.0, stages="two-stage", **field)]) == []


def test_what_the_claim_does_not_speak_of_is_left_aside(student):
    records = [student(80.0, precision="2-2-8"), student(78.0, precision="2-2-8", stages="two-stage")]
    assert find_pairs(STAGES, records) == []


def test_generated_tasks_never_count(student):
    records = [student(80.0, task="demo-pairs"), student(78.0, task="demo-pairs", stages="two-stage")]
    assert find_pairs(STAGES, records) == []


def test_settings_of_one_task_and_seed_are_one_pair(student):
    records = [
        student(80.0 + gain, stages=stages, epochs=epochs)
        for epochs, difference in ((3, 1.0), (9, 2.0))
        for stages, gain in (("one-stage", difference), ("two-stage", 0.0))
    ]
    pair = only(find_pairs(STAGES, records))
    assert pair.effect == pytest.approx(1.5)
    assert pair.epochs == {3.0, 9.0}


class TestTuned:
    TEST = Contrast({}, ({"stages": ("one-stage",)},), ({"stages": ("two-stage",)},), ("learning_rate",))

    def test_the_best_is_taken_over_the_rates_of_both_sides(self, student):
        records = [
            student(80.0, learning_rate=2e-5),
            student(82.0, learning_rate=1e-4),
            student(90.0, learning_rate=5e-4),  # the other side was never tried at this rate
            student(81.0, learning_rate=2e-5, stages="two-stage"),
            student(70.0, learning_rate=1e-4, stages="two-stage"),
        ]
        assert only(find_pairs(self.TEST, records)).effect == pytest.approx(1.0)

    def test_one_shared_rate_is_not_tuned(self, student):
        records = [
            student(80.0, learning_rate=2e-5),
            student(82.0, learning_rate=1e-4),
            student(81.0, learning_rate=2e-5, stages="two-stage"),
        ]
        assert find_pairs(self.TEST, records) == []


def test_a_difference_of_differences(student):
    test = Contrast(
        {},
        ({"stages": ("one-stage",), "learning_rate": (5e-4,)}, {"stages": ("two-stage",), "learning_rate": (1e-4,)}),
        ({"stages": ("one-stage",), "learning_rate": (1e-4,)}, {"stages": ("two-stage",), "learning_rate": (5e-4,)}),
        (),
    )
    records = [
        student(80.0),
        student(79.0, learning_rate=5e-4),
        student(78.0, stages="two-stage"),
        student(70.0, stages="two-stage", learning_rate=5e-4),
    ]
    assert only(find_pairs(test, records)).effect == pytest.approx((79 - 70) - (80 - 78))
    assert find_pairs(test, records[1:]) == []


def test_against_the_own_teacher(student, make_record):
    test = Contrast({}, ({"stages": ("one-stage",)},), ("teacher",), ())
    teacher = make_record(85.0, epochs=5)
    record = student(84.0, teacher=teacher.experiment)
    assert only(find_pairs(test, [record, teacher])).effect == pytest.approx(-1.0)
    assert find_pairs(test, [record]) == []


def test_against_another_teacher(student):
    test = Contrast(
        {},
        ({"layers": ((1, 3, 5),), "teacher.layers": (None,)},),
        ({"layers": (None,), "teacher.layers": ((1, 3, 5),)},),
        (),
    )
    small = Experiment(task="mrpc", epochs=3, learning_rate=1e-4, layers=(1, 3, 5))
    records = [student(80.0, layers=(1, 3, 5)), student(79.0, teacher=small)]
    assert only(find_pairs(test, records)).effect == pytest.approx(1.0)


def test_widths_that_are_allocated_are_compared_with_uniform_ones(student):
    test = Contrast({}, ({"widths": ("fracbits",)},), ({"widths": ("uniform",)},), ())
    fields = {"recipe": "adaqat", "precision": "4-4-4"}
    found = [student(81.0, allocation=Allocation(method="fracbits", budget=16.0), **fields), student(80.0, **fields)]
    assert only(find_pairs(test, found)).effect == pytest.approx(1.0)


class TestSpread:
    STEPS_192 = MappingProxyType({"mrpc": 1.669, "rte": 2.461})

    def records(self, student, seeds=(42, 111, 222), lengths=STEPS_192, begin=False):
        # Averages over the two tasks: 70, 71, 72. Teachers differ in their length from task to task.
        teachers = {task: Experiment(task=task, epochs=n, learning_rate=1e-4) for task, n in (("mrpc", 3), ("rte", 5))}

        def start(task):
            fields = {"task": task, "teacher": teachers[task], "epochs": lengths[task], "learning_rate": 5e-4}
            return Experiment(**fields, layers=(1, 3, 5), stages="one-stage")

        return [
            student(score + i, task=task, seed=seed, teacher=teachers[task], epochs=lengths[task], **more)
            for task, score in (("mrpc", 80.0), ("rte", 60.0))
            for more in [{"start": start(task), "layers": (1, 3, 5)} if begin else {}]
            for i, seed in enumerate(seeds)
        ]

    def test_deviation_over_seeds_of_the_average_over_tasks(self, student):
        pair = only(find_pairs(Spread({}), self.records(student)))
        assert pair.effect == pytest.approx((2 / 3) ** 0.5)
        assert pair.tasks == {"mrpc", "rte"} and pair.seeds == {42, 111, 222}

    def test_students_that_begin_with_their_own_task_s_run(self, student):
        assert only(find_pairs(Spread({}), self.records(student, begin=True))).tasks == {"mrpc", "rte"}

    def test_tasks_are_trained_for_one_budget_or_as_many_steps(self, student):
        budget = {task: paper_passes(task, "A") for task in ("mrpc", "rte")}
        assert only(find_pairs(Spread({}), self.records(student, lengths=budget))).epochs == set(budget.values())
        assert find_pairs(Spread({}), self.records(student, lengths={"mrpc": 2, "rte": 2})) == []

    def test_too_few_seeds_or_tasks(self, student):
        assert find_pairs(Spread({}), self.records(student, seeds=(42, 111))) == []
        assert find_pairs(Spread({}), self.records(student)[:-1]) == []


def test_no_test_has_no_pairs(student):
    assert find_pairs(None, [student(80.0)]) == []

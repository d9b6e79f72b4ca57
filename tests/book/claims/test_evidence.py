import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
from xtcq_book.claims import examples, ledger
from xtcq_book.claims.evidence import find_evidence

from xtcq.study import Experiment
from xtcq.study.budgets import paper_passes

# None of these tests is about a length.
Contrast, Found, Spread = (partial(kind, length=()) for kind in (ledger.Contrast, ledger.Found, ledger.Spread))
ONE, TWO = {"stages": ("one-stage",)}, {"stages": ("two-stage",)}
STAGES = Contrast({"precision": ("1-1-8",)}, (ONE,), (TWO,))
HALF, KEPT = {"layers": (1, 3, 5)}, ((1, 3, 5),)
TWO_TEACHERS = Contrast(
    {}, ({"layers": KEPT, "teacher.layers": (None,)},), ({"layers": (None,), "teacher.layers": KEPT},)
)
LEARNED = {"recipe": "adaqat", "precision": "4-4-4", "adaqat": {}, "exploration": {"in_regime": True}}
MRPC = 100 * 279 / 408


def teacher_of(task="mrpc", **fields):
    return Experiment(**{"task": task, "epochs": 3, "learning_rate": 1e-4} | fields)


@pytest.fixture
def student(make_run):
    """A factory of Records of 1-bit students, which have a good teacher."""

    def build(best, last=None, task="mrpc", stages="one-stage", **fields):
        teacher = fields.pop("teacher", teacher_of(task))
        return make_run(best, last, task=task, stages=stages, **{"precision": "1-1-8", "teacher": teacher} | fields)

    return build


@pytest.fixture
def pair(student):
    """A factory of the two sides of `STAGES`; what is given as ``other`` is of the second one alone."""

    def build(best=80.0, less=1.0, other=None, **fields):
        return [student(best, **fields), student(best - less, stages="two-stage", **fields | (other or {}))]

    return build


@pytest.fixture
def teachers(make_run):
    """Records of the teachers."""
    return [make_run(86.0, task=task) for task in ("mrpc", "rte", "sst2", "cola", "stsb")]


@pytest.fixture
def only(teachers):
    """What is found of the only encoder, beside the teachers unless others are given."""

    def find(test, records, taught=teachers):
        (evidence,) = find_evidence(test, [*records, *taught]).values()
        return evidence

    return find


@pytest.fixture
def left_out(only):
    """The one reason why nothing counts."""

    def find(*arguments):
        evidence = only(*arguments)
        assert evidence.settings == []
        (reason,) = evidence.gated
        return reason

    return find


def test_the_primary_metric_is_compared_within_a_task_and_seed(student, teachers):
    records = [
        student(80.0, 79.0),
        student(78.5, 70.0, stages="two-stage"),
        student(75.0, seed=111),  # no partner with this seed
        student(72.0, task="rte", stages="two-stage"),  # none with this task
    ]
    found = find_evidence(STAGES, records + teachers)
    assert list(found) == ["minilm-l6"]
    (evidence,) = found.values()
    assert evidence.effects("best") == {"mrpc": [pytest.approx(1.5)]}
    assert evidence.effects("last") == {"mrpc": [pytest.approx(9.0)]}
    assert evidence.lifts == {"mrpc": pytest.approx(86 - MRPC)}
    assert (evidence.seeds, evidence.gated) == ({"mrpc": {42}}, [])


def test_every_task_has_its_own_effects_by_seed_and_its_own_lift(pair, only):
    records = [*pair(less=2.0, seed=2), *pair(seed=1), *pair(less=5.0, task="rte", seed=1), *pair(task="sst2", seed=1)]
    evidence = only(STAGES, records)
    assert evidence.effects("best") == {"mrpc": [1.0, 2.0], "rte": [5.0], "sst2": [1.0]}
    majorities = {"mrpc": MRPC, "rte": 100 * 146 / 277, "sst2": 100 * 444 / 872}
    assert evidence.lifts == {task: pytest.approx(86 - level) for task, level in majorities.items()}
    some = evidence.only(["rte"], "too few").only(["rte"], "again")
    assert some.effects("best") == {"rte": [5.0]} and some.gated == ["mrpc: too few", "sst2: too few"]


@pytest.mark.parametrize(
    "field",
    [{"learning_rate": 2e-4}, {"epochs": 9}, {"evaluations": 3}, {"lora_rank": 1}, {"layers": (1, 3, 5)}],
)
def test_what_differs_in_anything_else_is_no_pair(pair, teachers, field):
    assert find_evidence(STAGES, [*pair(other=field), *teachers]) == {}


@pytest.mark.parametrize("field", [{"precision": "2-2-8"}, {"task": "demo-pairs"}])
def test_what_the_claim_does_not_speak_of_is_left_aside(pair, teachers, field):
    assert find_evidence(STAGES, pair(**field) + teachers) == {}


def test_settings_of_one_task_and_seed_are_averaged(pair, only):
    assert only(STAGES, pair(less=1.0) + pair(less=2.0, epochs=9)).effects("best") == {"mrpc": [pytest.approx(1.5)]}


def test_a_student_is_compared_with_the_teacher_that_it_had(student, only, left_out):
    """Its Record says so where that one's weights are not those of the teacher's Record."""
    test = Contrast({"precision": ("1-1-8",)}, (ONE,), (ledger.TEACHER,))
    told = dict.fromkeys(("best", "last"), {"accuracy": 83.0, "f1": 80.0})
    records = [student(80.0), dataclasses.replace(student(80.0, seed=2), teacher_scores=told)]
    evidence = only(test, records)
    assert evidence.effects("best") == evidence.effects("last") == {"mrpc": [-3.0, -6.0]}
    assert evidence.lifts == {"mrpc": pytest.approx(86 - MRPC)}
    alone = only(test, records[1:])
    assert alone.lifts == {"mrpc": pytest.approx(83 - MRPC)}
    assert alone.example_variances("best") is None
    low = dataclasses.replace(records[1], teacher_scores=dict.fromkeys(told, {"accuracy": 70.0, "f1": 80.0}))
    assert "its teacher scores 70.0" in left_out(test, [low])


class TestTrainingsOfTheTeacher:
    """A teacher that was trained again has other weights, and its students other scores."""

    @staticmethod
    def again(record, accuracy=83.0):
        told = dict.fromkeys(("best", "last"), {"accuracy": accuracy, "f1": 80.0})
        return dataclasses.replace(record, teacher_scores=told)

    REASON = "what is compared learned from different trainings of one teacher"

    def test_only_sides_of_the_same_are_a_pair(self, pair, only):
        one, two = pair(less=9.0, seed=2)
        records = [*pair(seed=1), one, self.again(two), *map(self.again, pair(less=2.0, seed=3))]
        evidence = only(STAGES, records)
        assert evidence.effects("best") == {"mrpc": [1.0, 2.0]}
        assert evidence.gated == [f"mrpc: seeds 2: {self.REASON}"]

    def test_without_any_pair_nothing_counts(self, pair, left_out):
        one, two = pair()
        assert left_out(STAGES, [self.again(one), self.again(two, 84.0)]) == f"mrpc: {self.REASON}"

    def test_seeds_are_spread_over_one_teacher(self, student, only):
        records = [student(80.0, seed=1), self.again(student(70.0, seed=2)), student(81.0, seed=3)]
        evidence = only(Spread({"stages": ("one-stage",)}), records)
        assert evidence.seeds == {"mrpc": {1, 3}} and evidence.gated == [f"mrpc: seeds 2: {self.REASON}"]

    def test_students_of_two_teachers_may_be_compared(self, student, only, make_run):
        small = self.again(student(79.0, teacher=teacher_of(**HALF)))
        records = [student(80.0, **HALF), small, make_run(82.0, **HALF)]
        assert only(TWO_TEACHERS, records).effects("best") == {"mrpc": [1.0]}


def test_every_seed_stands_for_the_same_settings(pair, only):
    records = [one for seed in (1, 2, 3) for one in pair(seed=seed)] + pair(less=5.0, epochs=9, seed=1)
    evidence = only(STAGES, records)
    assert evidence.effects("best") == {"mrpc": [pytest.approx(1.0)] * 3}
    assert evidence.gated == ["mrpc: 1 of 2 settings were not run with all seeds 1, 2, 3"]


class TestGates:
    def test_a_teacher_that_learnt_too_little(self, pair, left_out, make_run):
        reason = left_out(STAGES, pair(), [make_run(72.0)])
        # 68.38 and two standard errors of 2.30.
        assert reason == "mrpc: its teacher scores 72.0, which is not above 73.0: it has learnt too little"

    @pytest.mark.parametrize(
        ("task", "best", "least"), [("mrpc", 72, "73.0"), ("cola", 9, "10.0"), ("stsb", 29, "30.0")]
    )
    def test_sides_that_learnt_too_little(self, pair, only, left_out, task, best, least):
        reason = left_out(STAGES, pair(float(best), task=task))
        assert f"{task}: its better side scores {best}.0, which is not above {least}" in reason
        assert only(STAGES, pair(best + 1.5, task=task)).settings

    def test_the_better_side_is_enough_and_over_its_seeds(self, pair, only):
        records = [*pair(72.0, 12.0, seed=1), *pair(80.0, 20.0, seed=2)]
        assert only(STAGES, records).effects("best") == {"mrpc": [12.0, 20.0]}

    def test_in_a_difference_of_differences_every_difference_counts(self, student, left_out):
        bits = {name: {"precision": (f"{name}-{name}-8",)} for name in (1, 2)}
        with_terms, without = {"lora_rank": (1,)}, {"lora_rank": (0,)}
        test = Contrast({}, (bits[1] | with_terms, bits[2] | without), (bits[1] | without, bits[2] | with_terms))
        records = [
            student(best, precision=precision, lora_rank=rank)
            for precision, best in (("1-1-8", 69.0), ("2-2-8", 80.0))
            for rank in (0, 1)
        ]
        assert "its better side scores 69.0" in left_out(test, records)

    @pytest.mark.parametrize("test", [STAGES, Contrast({}, (ONE,), ("teacher",))])
    def test_a_teacher_without_a_record(self, pair, left_out, test):
        assert "its teacher has no Record" in left_out(test, pair(), [])

    def test_runs_without_any_teacher(self, make_run, left_out):
        test = Contrast({}, ({"precision": ("32-32-32",)},), ("teacher",))
        assert "its runs have no teacher to be measured against" in left_out(test, [make_run(80.0)], [])

    @pytest.mark.parametrize("seeds", [(1, 1), (1, 2)])
    def test_two_settings_that_fit_one_term(self, student, left_out, seeds):
        test = Contrast({}, (ONE,), (TWO | {"lora_rank": (0,)},))
        records = [student(80.0, seed=seeds[0]), student(85.0, seed=seeds[1], lora_rank=8)]
        records += [student(79.0, stages="two-stage", seed=seed) for seed in set(seeds)]
        assert "several settings are «stages one-stage»" in left_out(test, records)

    def test_the_majority_of_a_task_without_its_labels(self, pair, make_run, left_out):
        assert "XTCQ_DATA lacks them" in left_out(STAGES, pair(task="mnli"), [make_run(84.0, task="mnli")])

    @pytest.mark.parametrize(
        ("in_regime", "counts"), [({"in_regime": True}, True), ({"in_regime": False}, False), ({}, False)]
    )
    def test_widths_learned_out_of_the_papers_regime(self, pair, only, in_regime, counts):
        evidence = only(Contrast({}, (ONE,), (TWO,)), pair(**LEARNED | {"exploration": in_regime}))
        assert bool(evidence.settings) is counts
        assert counts or "did not run in the paper's regime" in evidence.gated[0]

    def test_bit_operations_that_shall_be_equal(self, pair, only, left_out):
        test, sides = Contrast({}, (ONE,), (TWO,), bitops=0.1), pair()
        assert only(test, sides).settings
        for side, bitops in zip(sides, (120, 100), strict=True):
            object.__setattr__(side, "bitops", bitops)
        assert "differ in bit operations by 20%" in left_out(test, sides)


class TestOrigin:
    OTHERS = "mrpc: runs by another method of training or on other data, beside those that count"

    @pytest.mark.parametrize("field", [{"method": 1}, {"data": "other"}])
    def test_sides_of_another_method_or_on_other_data_are_never_paired(self, pair, left_out, field):
        assert "different methods of training, or on different data" in left_out(STAGES, pair(other=field))

    def test_the_newest_method_that_has_both_sides_counts(self, pair, only, teachers, make_run):
        taught, old, new = [*teachers, make_run(86.0, method=1)], pair(71.0, method=1), pair(less=2.0)
        found = only(STAGES, old + new, taught)
        assert (found.effects("best"), found.gated) == ({"mrpc": [2.0]}, [self.OTHERS])
        # A new run without a partner does not take the place of an old pair, nor does it join one.
        assert only(STAGES, old + new[:1], taught).gated == [
            "mrpc: its better side scores 71.0, which is not above 73.0: it has learnt too little"
        ]

    def test_another_number_format_is_paired_and_marked(self, pair, only):
        evidence = only(STAGES, pair(other={"compute": "bf16"}) + pair(task="rte"))
        assert evidence.mixed == ["mrpc"] and list(evidence.seeds) == ["mrpc", "rte"]


class TestTuned:
    TEST = Contrast({}, (ONE,), (TWO,), tune="learning_rate")
    RATES = (2e-5, 1e-4, 5e-4)

    @pytest.fixture
    def sweep(self, student):
        def build(bests, stages, rates=self.RATES):
            return [student(best, stages=stages, learning_rate=rate) for best, rate in zip(bests, rates, strict=True)]

        return build

    def test_each_side_has_its_own_best_rate_and_all_its_seeds(self, sweep, student, only):
        records = sweep((76, 80, 79), "one-stage")
        records += sweep((70, 77, 78, 75), "two-stage", (2e-5, 1e-4, 2e-4, 5e-4))
        for seed, gain in ((1, 0.5), (2, -0.5)):
            records.append(student(80.0 + gain, learning_rate=1e-4, seed=seed))
            records.append(student(76.0, stages="two-stage", learning_rate=2e-4, seed=seed))
        # Better than the seeds of the best rate, but not what was chosen.
        records.append(student(90.0, learning_rate=5e-4, seed=2))
        evidence = only(self.TEST, records)
        assert evidence.effects("best") == {"mrpc": [pytest.approx(4.5), pytest.approx(3.5), pytest.approx(2.0)]}
        assert evidence.seeds == {"mrpc": {1, 2, 42}}

    @pytest.mark.parametrize(("more", "seeds"), [((1, 2, 3), {1, 2, 3}), ((1, 2), {1, 2, 42})])
    def test_the_seed_that_chose_does_not_count_beside_three_others(self, sweep, pair, only, more, seeds):
        records = sweep((76, 80, 79), "one-stage") + sweep((70, 77, 70), "two-stage")
        evidence = only(self.TEST, records + [one for seed in more for one in pair(78.0, 2.0, seed=seed)])
        assert evidence.seeds == {"mrpc": seeds}
        assert evidence.effects("best")["mrpc"] == [2.0] * len(more) + [3.0] * (42 in seeds)

    def test_a_rate_is_chosen_by_the_best_score_under_both(self, sweep, student, only):
        records = [student(80.0, 75.0, learning_rate=1e-4), student(79.0, 79.0, learning_rate=2e-5)]
        records += [student(70.0, 70.0, learning_rate=5e-4), *sweep((70, 77, 70), "two-stage")]
        assert only(self.TEST, records).effects("last") == {"mrpc": [-2.0]}

    @pytest.mark.parametrize("bests", [(76, 79, 80), (80, 79, 76)])
    def test_a_best_rate_at_an_edge(self, sweep, left_out, bests):
        records = sweep(bests, "one-stage", (5e-5, 1e-4, 5e-4)) + sweep((70, 77, 70), "two-stage")
        reason = left_out(self.TEST, records)
        assert "is at an edge of its sweep (5e-05, 0.0001, 0.0005)" in reason and "«stages one-stage»" in reason

    def test_two_rates_are_no_sweep(self, sweep, left_out):
        records = sweep((76, 79), "one-stage", (1e-4, 2e-4)) + sweep((7, 77, 7), "two-stage")
        said = "is not tuned: its rates with a common seed are fewer than 3 (0.0001, 0.0002)"
        assert said in left_out(self.TEST, records)


def test_a_difference_of_differences(student, only, teachers):
    high, low = {"learning_rate": (5e-4,)}, {"learning_rate": (1e-4,)}
    test = Contrast({}, (ONE | high, TWO | low), (ONE | low, TWO | high))
    records = [
        student(80.0),
        student(79.0, learning_rate=5e-4),
        student(78.0, stages="two-stage"),
        student(70.0, stages="two-stage", learning_rate=5e-4),
    ]
    assert only(test, records).effects("best") == {"mrpc": [(79 - 70) - (80 - 78)]}
    assert find_evidence(test, records[1:] + teachers) == {}


def test_against_the_own_teacher(student, only, make_run):
    test = Contrast({}, (ONE,), ("teacher",))
    assert only(test, [student(84.0, 83.0)]).effects("best") == {"mrpc": [-2.0]}
    # A teacher has no step at which others begin to be evaluated, nor do others wait for its first.
    late, early = (make_run(86.0) for _ in range(2))
    late.history[0]["step"], early.history[0]["step"] = 15, 0
    early.history[1]["metrics"] = dict.fromkeys(early.best, 80.0)
    for taught in (late, early):
        assert only(test, [student(84.0, 83.0)], [taught]).effects("best") == {"mrpc": [-2.0]}


def test_against_another_teacher(student, only, make_run):
    records = [student(80.0, **HALF), student(79.0, teacher=teacher_of(**HALF)), make_run(82.0, **HALF)]
    evidence = only(TWO_TEACHERS, records)
    assert evidence.effects("best") == {"mrpc": [1.0]}
    assert evidence.lifts == {"mrpc": pytest.approx(86 - MRPC)}  # of the better teacher


def test_students_of_two_encoders_speak_for_their_teachers(student, make_run):
    skip = (1, 3, 5, 7, 9, 11)
    test = Contrast({}, ({"model": ("bert-base-uncased",), "kept": (skip,)},), ({"model": ("tinybert-l6",)},))
    teacher = make_run(88.0, model="bert-base-uncased")
    fields = {"teacher": teacher.experiment, "precision": "32-32-32"}
    small, cut = (
        student(85.0, model="tinybert-l6", **fields),
        student(86.0, model="bert-base-uncased", layers=skip, **fields),
    )
    found = find_evidence(test, [small, cut, teacher])
    assert {model: evidence.effects("best") for model, evidence in found.items()} == {
        "bert-base-uncased": {"mrpc": [1.0]}
    }


def test_widths_that_are_allocated_are_compared_with_uniform_ones(student, only):
    test = Contrast({}, ({"width_source": ("allocated",)},), ({"width_source": ("uniform",)},))
    fields = {"recipe": "adaqat", "precision": "4-4-4"}
    found = [student(81.0, allocation={"bert.pooler.dense": (2, 4)}, **fields), student(80.0, **fields)]
    assert only(test, found).effects("best") == {"mrpc": [1.0]}


def test_runs_that_both_sides_share_cancel_over_examples(student, make_run, only, monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 408)
    monkeypatch.setattr(examples, "_examples", lambda task: pd.DataFrame({"label": labels}))

    def made(errors):
        wrong = rng.permutation(408)[:errors]
        classes = labels.copy()
        classes[wrong] = 1 - classes[wrong]
        return 100 * (1 - errors / 408), classes

    def run(drawn, make, **fields):
        score, classes = drawn
        by_split = {"validation": "".join(map(str, classes))}
        return make(score, predictions={"best": by_split, "last": by_split}, **fields)

    teacher, one, two = made(40), made(60), made(70)
    test = Contrast({}, (ONE, "teacher"), (TWO, "teacher"))
    records, taught = [run(one, student), run(two, student, stages="two-stage")], [run(teacher, make_run)]
    difference = (one[1] == labels).astype(float) - (two[1] == labels)
    expected = {"mrpc": pytest.approx(1e4 * difference.var() / 408)}
    assert only(test, records, taught).example_variances("best") == expected
    assert only(STAGES, records, taught).example_variances("last") == expected
    # Two seeds whose errors are independent halve the variance of their mean, a copy of the first would not.
    again = [run(one, student, seed=1), run(two, student, stages="two-stage", seed=1)]
    assert only(STAGES, records + again, taught).example_variances("best") == expected


class TestSpread:
    @pytest.fixture
    def found(self, student, only):
        def find(*fields, lengths=None, less=0.0):
            lengths = lengths or {"mrpc": 192 / 115, "rte": 192 / 78}
            records = [
                student(score + i, score + i - less, task=task, seed=seed, epochs=lengths[task], **more)
                for more in fields or ({},)
                for task, score in (("mrpc", 80.0), ("rte", 70.0))
                for i, seed in enumerate((42, 111, 222))
            ]
            evidence = only(Spread({}), records)
            return evidence, len({setting.group for setting in evidence.settings})

        return find

    def test_one_configuration_on_two_tasks(self, found):
        evidence, configurations = found(less=40.0)  # the best score is what has to be above the majority
        assert evidence.seeds == {"mrpc": {42, 111, 222}, "rte": {42, 111, 222}} and configurations == 1

    def test_tasks_are_trained_for_one_budget_or_as_many_steps(self, found):
        assert found(lengths={task: paper_passes(task, "A") for task in ("mrpc", "rte")})[1] == 1
        assert found(lengths={"mrpc": 2, "rte": 2})[1] == 2

    def test_other_settings_are_another_configuration(self, found):
        evidence, configurations = found({}, {"lora_rank": 1})
        assert len(evidence.settings) == 4 and configurations == 2


def test_what_a_search_found(student, only):
    records = [
        student(80.0, seed=seed, **LEARNED | {"exploration": {"in_regime": True, "mean_weights": bits}})
        for seed, bits in ((1, 2.25), (2, 2.5))
    ]
    evidence = only(Found({"recipe": ("adaqat",)}, "mean_weights"), records)
    assert evidence.effects("best") == evidence.effects("last") == {"mrpc": [2.25, 2.5]}


class TestSharedEvaluations:
    """Learned widths are fixed on the way, so that a learned student is evaluated later and fewer times."""

    TEST = Contrast({}, ({"width_source": ("learned",)},), ({"width_source": ("uniform",)},))

    @pytest.fixture
    def sides(self, student):
        """A student evaluated at the steps 40 and 60 after its widths were fixed, a uniform one at 20, 40 and 60."""

        def build(uniform, **fields):
            def run(scores, **more):
                record = student(max(scores), scores[-1], **more)
                entries = zip((60, 40, 20), reversed(scores), strict=False)
                place = record.history[0]
                history = [place | {"step": step, "metrics": dict.fromkeys(record.best, s)} for step, s in entries]
                return dataclasses.replace(record, history=history[::-1])

            return [run((78.0, 76.0), **LEARNED), run(uniform, recipe="adaqat", precision="4-4-4", **fields)]

        return build

    def test_the_best_of_the_partner_is_one_of_the_same_steps(self, sides, only):
        evidence = only(self.TEST, sides((80.0, 77.0, 75.0)))
        assert evidence.effects("best") == evidence.effects("last") == {"mrpc": [1.0]}
        assert evidence.shortened == ["mrpc"]

    def test_predictions_of_another_evaluation_are_not_taken_for_those_of_the_best(self, sides, only, monkeypatch):
        monkeypatch.setattr("xtcq_book.claims.evidence.influence", lambda record, score: np.ones(408))
        early, late = (only(self.TEST, sides((first, 77.0, 75.0))) for first in (80.0, 70.0))
        assert early.example_variances("best") is None and early.example_variances("last") == {"mrpc": 0.0}
        assert late.shortened == [] and late.example_variances("best") == {"mrpc": 0.0}

    def test_a_teacher_and_a_run_of_another_length_keep_all_of_theirs(self, sides, only):
        learned, longer = sides((80.0, 77.0, 75.0), epochs=9)
        against = Contrast({}, self.TEST.plus, ("teacher",))
        assert only(against, [learned]).effects("best") == {"mrpc": [78.0 - 86.0]}
        lengths = Contrast({}, (self.TEST.plus[0] | {"epochs": (3.0,)},), (self.TEST.minus[0] | {"epochs": (9.0,)},))
        assert only(lengths, [learned, longer]).effects("best") == {"mrpc": [-2.0]}


@pytest.mark.parametrize("test", [Spread({"precision": ("1-1-8",)}), Found({"precision": ("1-1-8",)}, "mean_weights")])
def test_students_of_two_teachers_are_two_settings(student, make_run, only, test):
    teachers = {rate: make_run(86.0, learning_rate=rate) for rate in (1e-4, 2e-4)}
    records = [
        student(80.0 + seed, seed=seed, teacher=teachers[rate].experiment, exploration={"mean_weights": 2.0})
        for rate, seeds in ((1e-4, (1, 2)), (2e-4, (2, 3, 4)))
        for seed in seeds
    ]
    evidence = only(test, records, teachers.values())
    (setting,) = evidence.settings
    assert {r.experiment.teacher.learning_rate for r in evidence.records} == {2e-4} and set(setting.terms) == {2, 3, 4}
    assert evidence.gated == ["mrpc: 1 with another teacher, start or length, beside one with as many seeds or more"]


def test_two_runs_of_one_seed_are_never_one(student, left_out):
    start = Experiment(task="mrpc", epochs=3, learning_rate=1e-4, stages="one-stage", teacher=teacher_of())
    records = [student(80.0, start=dataclasses.replace(start, seed=seed)) for seed in (1, 2)]
    assert "runs of one seed begin with several others" in left_out(Spread({"stages": ("one-stage",)}), records)

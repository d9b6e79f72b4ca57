import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
from xtcq_book.claims import examples, ledger
from xtcq_book.claims.evidence import find_evidence

from xtcq.study import Experiment
from xtcq.study.budgets import paper_passes
from xtcq.study.records import old_records

# None of these tests is about a length.
Contrast, Found, Spread = (partial(kind, length=()) for kind in (ledger.Contrast, ledger.Found, ledger.Spread))
STAGES = Contrast({"precision": ("1-1-8",)}, ({"stages": ("one-stage",)},), ({"stages": ("two-stage",)},))


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
def teachers(make_run):
    """Records of the teachers."""
    return [make_run(86.0, task=task) for task in ("mrpc", "rte", "sst2", "cola", "stsb")]


def only(found):
    (evidence,) = found.values()
    return evidence


def left_out(found):
    """The one reason why nothing counts."""
    evidence = only(found)
    assert evidence.settings == []
    (reason,) = evidence.gated
    return reason


def test_the_primary_metric_is_compared_within_a_task_and_seed(student, teachers):
    records = [
        student(80.0, 79.0),
        student(78.5, 70.0, stages="two-stage"),
        student(75.0, seed=111),  # no partner with this seed
        student(72.0, task="rte", stages="two-stage"),  # none with this task
    ]
    found = find_evidence(STAGES, records + teachers)
    assert list(found) == ["minilm-l6"]
    assert only(found).effects("best") == {"mrpc": [pytest.approx(1.5)]}
    assert only(found).effects("last") == {"mrpc": [pytest.approx(9.0)]}
    assert only(found).lifts == {"mrpc": pytest.approx(86 - 100 * 279 / 408)}
    assert (only(found).seeds, only(found).gated) == ({"mrpc": {42}}, [])


@pytest.mark.parametrize(
    "field",
    [{"learning_rate": 2e-4}, {"epochs": 9}, {"evaluations": 3}, {"lora_rank": 1}, {"layers": (1, 3, 5)}],
)
def test_what_differs_in_anything_else_is_no_pair(student, teachers, field):
    assert find_evidence(STAGES, [student(80.0), student(78.0, stages="two-stage", **field), *teachers]) == {}


def test_what_the_claim_does_not_speak_of_is_left_aside(student, teachers):
    records = [student(80.0, precision="2-2-8"), student(78.0, precision="2-2-8", stages="two-stage")]
    assert find_evidence(STAGES, records + teachers) == {}


def test_generated_tasks_and_records_without_predictions_never_count(student, teachers):
    demo = [student(80.0, task="demo-pairs", stages=stages) for stages in ("one-stage", "two-stage")]
    old = [student(80.0, predictions=None, stages=stages) for stages in ("one-stage", "two-stage")]
    assert find_evidence(STAGES, demo + old + teachers) == {}


def test_the_records_of_schema_1_of_the_book_count_for_nothing():
    old = list(old_records().values())
    assert len(old) > 100 and find_evidence(STAGES, old) == {}


def test_settings_of_one_task_and_seed_are_averaged(student, teachers):
    records = [
        student(80.0 + gain, stages=stages, epochs=epochs)
        for epochs, difference in ((3, 1.0), (9, 2.0))
        for stages, gain in (("one-stage", difference), ("two-stage", 0.0))
    ]
    assert only(find_evidence(STAGES, records + teachers)).effects("best") == {"mrpc": [pytest.approx(1.5)]}


def test_a_student_is_compared_with_the_teacher_that_it_had(student, teachers):
    """Its Record says so where that one's weights are not those of the teacher's Record."""
    test = Contrast({"precision": ("1-1-8",)}, ({"stages": ("one-stage",)},), (ledger.TEACHER,))
    told = dict.fromkeys(("best", "last"), {"accuracy": 83.0, "f1": 80.0})
    records = [student(80.0), dataclasses.replace(student(80.0, seed=2), teacher_scores=told)]
    evidence = only(find_evidence(test, records + teachers))
    assert evidence.effects("best") == evidence.effects("last") == {"mrpc": [-3.0, -6.0]}
    (setting,) = evidence.settings
    assert setting.lift == pytest.approx(86 - 100 * 279 / 408)
    alone = only(find_evidence(test, [*records[1:], *teachers]))
    assert alone.settings[0].lift == pytest.approx(83 - 100 * 279 / 408)
    assert alone.example_variances("best") is None
    low = dataclasses.replace(records[1], teacher_scores=dict.fromkeys(told, {"accuracy": 70.0, "f1": 80.0}))
    assert "its teacher scores 70.0" in left_out(find_evidence(test, [low, *teachers]))


def test_every_seed_stands_for_the_same_settings(student, teachers):
    records = [
        student(80.0 + gain, stages=stages, epochs=epochs, seed=seed)
        for epochs, difference, seeds in ((3, 1.0, (1, 2, 3)), (9, 5.0, (1,)))
        for stages, gain in (("one-stage", difference), ("two-stage", 0.0))
        for seed in seeds
    ]
    evidence = only(find_evidence(STAGES, records + teachers))
    assert evidence.effects("best") == {"mrpc": [pytest.approx(1.0)] * 3}
    assert evidence.gated == ["mrpc: 1 of 2 settings were not run with all seeds 1, 2, 3"]


class TestGates:
    def pair(self, student, best=80.0, task="mrpc", **fields):
        return [student(best, task=task, **fields), student(best - 1, task=task, stages="two-stage", **fields)]

    def test_a_teacher_that_learnt_too_little(self, student, make_run):
        reason = left_out(find_evidence(STAGES, [*self.pair(student), make_run(72.0)]))
        # 68.38 and two standard errors of 2.30.
        assert reason == "mrpc: its teacher scores 72.0, which is not above 73.0: it has learnt too little"

    @pytest.mark.parametrize(
        ("task", "best", "least"), [("mrpc", 72, "73.0"), ("cola", 9, "10.0"), ("stsb", 29, "30.0")]
    )
    def test_sides_that_learnt_too_little(self, student, teachers, task, best, least):
        reason = left_out(find_evidence(STAGES, self.pair(student, float(best), task) + teachers))
        assert f"{task}: its better side scores {best}.0, which is not above {least}" in reason
        assert only(find_evidence(STAGES, self.pair(student, best + 1.5, task) + teachers)).settings

    def test_the_better_side_is_enough_and_over_its_seeds(self, student, teachers):
        records = [student(72.0, seed=1), student(80.0, seed=2)]
        records += [student(60.0, stages="two-stage", seed=seed) for seed in (1, 2)]
        assert only(find_evidence(STAGES, records + teachers)).effects("best") == {"mrpc": [12.0, 20.0]}

    def test_in_a_difference_of_differences_every_difference_counts(self, student, teachers):
        test = Contrast(
            {},
            ({"precision": ("1-1-8",), "lora_rank": (1,)}, {"precision": ("2-2-8",), "lora_rank": (0,)}),
            ({"precision": ("1-1-8",), "lora_rank": (0,)}, {"precision": ("2-2-8",), "lora_rank": (1,)}),
        )
        records = [
            student(best, precision=precision, lora_rank=rank)
            for precision, best in (("1-1-8", 69.0), ("2-2-8", 80.0))
            for rank in (0, 1)
        ]
        assert "its better side scores 69.0" in left_out(find_evidence(test, records + teachers))

    def test_a_teacher_without_a_record(self, student):
        assert "its teacher has no Record" in left_out(find_evidence(STAGES, self.pair(student)))

    def test_two_settings_that_fit_one_term(self, student, teachers):
        test = Contrast({}, ({"stages": ("one-stage",)},), ({"stages": ("two-stage",), "lora_rank": (0,)},))
        records = [student(80.0), student(85.0, lora_rank=8), student(79.0, stages="two-stage")]
        assert "several settings are «stages one-stage»" in left_out(find_evidence(test, records + teachers))

    def test_seeds_of_two_settings_are_never_one_side(self, student, teachers):
        test = Contrast({}, ({"stages": ("one-stage",)},), ({"stages": ("two-stage",), "lora_rank": (0,)},))
        records = [student(80.0, seed=1), student(85.0, seed=2, lora_rank=8)]
        records += [student(79.0, stages="two-stage", seed=seed) for seed in (1, 2)]
        assert "several settings are «stages one-stage»" in left_out(find_evidence(test, records + teachers))

    def test_the_majority_of_a_task_without_its_labels(self, student, make_run):
        records = [*self.pair(student, 80.0, "mnli"), make_run(84.0, task="mnli")]
        assert "XTCQ_DATA lacks them" in left_out(find_evidence(STAGES, records))

    @pytest.mark.parametrize(
        ("in_regime", "counts"), [({"in_regime": True}, True), ({"in_regime": False}, False), ({}, False)]
    )
    def test_widths_learned_out_of_the_papers_regime(self, student, teachers, in_regime, counts):
        fields = {"recipe": "adaqat", "precision": "4-4-4", "adaqat": {}, "exploration": in_regime}
        test = Contrast({}, STAGES.plus, STAGES.minus)
        evidence = only(find_evidence(test, self.pair(student, **fields) + teachers))
        assert bool(evidence.settings) is counts
        assert counts or "did not run in the paper's regime" in evidence.gated[0]

    def test_bit_operations_that_shall_be_equal(self, student, teachers):
        assert only(
            find_evidence(Contrast({}, STAGES.plus, STAGES.minus, bitops=0.1), self.pair(student) + teachers)
        ).settings
        uneven = [student(80.0), student(79.0, stages="two-stage")]
        object.__setattr__(uneven[0], "bitops", 120)
        object.__setattr__(uneven[1], "bitops", 100)
        reason = left_out(find_evidence(Contrast({}, STAGES.plus, STAGES.minus, bitops=0.1), uneven + teachers))
        assert "differ in bit operations by 20%" in reason


class TestOrigin:
    @pytest.mark.parametrize("field", [{"method": 1}, {"data": "other"}])
    def test_sides_of_another_method_or_on_other_data_are_never_paired(self, student, teachers, field):
        records = [student(80.0), student(78.0, stages="two-stage", **field)]
        assert "different methods of training, or on different data" in left_out(
            find_evidence(STAGES, records + teachers)
        )

    def test_the_newest_method_that_has_both_sides_counts(self, student, make_run, teachers):
        old = [student(70.0 + i, stages=stages, method=1) for i, stages in enumerate(("one-stage", "two-stage"))]
        new = [student(80.0), student(78.0, stages="two-stage")]
        found = find_evidence(STAGES, old + new + teachers + [make_run(86.0, method=1)])
        assert only(found).effects("best") == {"mrpc": [2.0]}
        assert only(found).gated == [
            "mrpc: runs by another method of training or on other data, beside those that count"
        ]
        # A new run without a partner does not take the place of an old pair, nor does it join one.
        found = find_evidence(STAGES, old + new[:1] + teachers + [make_run(86.0, method=1)])
        assert only(found).gated == [
            "mrpc: its better side scores 71.0, which is not above 73.0: it has learnt too little"
        ]

    def test_another_number_format_is_paired_and_marked(self, student, teachers):
        records = [student(80.0, compute="bf16"), student(78.0, stages="two-stage")]
        records += [student(80.0, task="rte", stages=stages) for stages in ("one-stage", "two-stage")]
        evidence = only(find_evidence(STAGES, records + teachers))
        assert evidence.mixed == ["mrpc"] and list(evidence.seeds) == ["mrpc", "rte"]


class TestTuned:
    TEST = Contrast({}, ({"stages": ("one-stage",)},), ({"stages": ("two-stage",)},), tune="learning_rate")
    RATES = (2e-5, 1e-4, 5e-4)

    def sweep(self, student, bests, stages, rates=RATES):
        return [student(best, stages=stages, learning_rate=rate) for best, rate in zip(bests, rates, strict=True)]

    def test_each_side_has_its_own_best_rate_and_all_its_seeds(self, student, teachers):
        records = self.sweep(student, (76, 80, 79), "one-stage")
        records += self.sweep(student, (70, 77, 78, 75), "two-stage", (2e-5, 1e-4, 2e-4, 5e-4))
        for seed, gain in ((1, 0.5), (2, -0.5)):
            records.append(student(80.0 + gain, learning_rate=1e-4, seed=seed))
            records.append(student(76.0, stages="two-stage", learning_rate=2e-4, seed=seed))
        # Better than the seeds of the best rate, but not what was chosen.
        records.append(student(90.0, learning_rate=5e-4, seed=2))
        evidence = only(find_evidence(self.TEST, records + teachers))
        assert evidence.effects("best") == {"mrpc": [pytest.approx(4.5), pytest.approx(3.5), pytest.approx(2.0)]}
        assert evidence.seeds == {"mrpc": {1, 2, 42}}

    @pytest.mark.parametrize(("more", "seeds"), [((1, 2, 3), {1, 2, 3}), ((1, 2), {1, 2, 42})])
    def test_the_seed_that_chose_does_not_count_beside_three_others(self, student, teachers, more, seeds):
        records = self.sweep(student, (76, 80, 79), "one-stage") + self.sweep(student, (70, 77, 70), "two-stage")
        for seed in more:
            records += [
                student(best, stages=stages, seed=seed) for stages, best in (("one-stage", 78), ("two-stage", 76))
            ]
        evidence = only(find_evidence(self.TEST, records + teachers))
        assert evidence.seeds == {"mrpc": seeds}
        assert evidence.effects("best")["mrpc"] == [2.0] * len(more) + [3.0] * (42 in seeds)

    def test_a_rate_is_chosen_by_the_best_score_under_both(self, student, teachers):
        records = [student(80.0, 75.0, learning_rate=1e-4), student(79.0, 79.0, learning_rate=2e-5)]
        records += [student(70.0, 70.0, learning_rate=5e-4), *self.sweep(student, (70, 77, 70), "two-stage")]
        assert only(find_evidence(self.TEST, records + teachers)).effects("last") == {"mrpc": [-2.0]}

    @pytest.mark.parametrize(
        ("bests", "edge"), [((76, 79, 80), "5e-05, 0.0001, 0.0005"), ((80, 79, 76), "5e-05, 0.0001, 0.0005")]
    )
    def test_a_best_rate_at_an_edge(self, student, teachers, bests, edge):
        records = self.sweep(student, bests, "one-stage", (5e-5, 1e-4, 5e-4))
        records += self.sweep(student, (70, 77, 70), "two-stage")
        reason = left_out(find_evidence(self.TEST, records + teachers))
        assert f"is at an edge of its sweep ({edge})" in reason and "«stages one-stage»" in reason

    def test_two_rates_are_no_sweep(self, student, teachers):
        records = self.sweep(student, (76, 79), "one-stage", (1e-4, 2e-4)) + self.sweep(
            student, (7, 77, 7), "two-stage"
        )
        assert "is not tuned: its rates with a common seed are fewer than 3 (0.0001, 0.0002)" in left_out(
            find_evidence(self.TEST, records + teachers)
        )


def test_a_difference_of_differences(student, teachers):
    test = Contrast(
        {},
        ({"stages": ("one-stage",), "learning_rate": (5e-4,)}, {"stages": ("two-stage",), "learning_rate": (1e-4,)}),
        ({"stages": ("one-stage",), "learning_rate": (1e-4,)}, {"stages": ("two-stage",), "learning_rate": (5e-4,)}),
    )
    records = [
        student(80.0),
        student(79.0, learning_rate=5e-4),
        student(78.0, stages="two-stage"),
        student(70.0, stages="two-stage", learning_rate=5e-4),
    ]
    assert only(find_evidence(test, records + teachers)).effects("best") == {"mrpc": [(79 - 70) - (80 - 78)]}
    assert find_evidence(test, records[1:] + teachers) == {}


def test_against_the_own_teacher(student, teachers):
    test = Contrast({}, ({"stages": ("one-stage",)},), ("teacher",))
    assert only(find_evidence(test, [student(84.0, 83.0), *teachers])).effects("best") == {"mrpc": [-2.0]}
    assert "its teacher has no Record" in left_out(find_evidence(test, [student(84.0)]))


def test_against_another_teacher(student, teachers, make_run):
    test = Contrast(
        {},
        ({"layers": ((1, 3, 5),), "teacher.layers": (None,)},),
        ({"layers": (None,), "teacher.layers": ((1, 3, 5),)},),
    )
    small = teacher_of(layers=(1, 3, 5))
    records = [
        student(80.0, layers=(1, 3, 5)),
        student(79.0, teacher=small),
        make_run(82.0, layers=(1, 3, 5)),
        *teachers,
    ]
    evidence = only(find_evidence(test, records))
    assert evidence.effects("best") == {"mrpc": [1.0]}
    assert evidence.lifts == {"mrpc": pytest.approx(86 - 100 * 279 / 408)}  # of the better teacher


def test_students_of_two_encoders_speak_for_their_teachers(student, make_run):
    test = Contrast(
        {},
        ({"model": ("bert-base-uncased",), "kept": ((1, 3, 5, 7, 9, 11),)},),
        ({"model": ("tinybert-l6",), "kept": (None,)},),
    )
    teacher = make_run(88.0, model="bert-base-uncased")
    fields = {"teacher": teacher.experiment, "precision": "32-32-32"}
    records = [
        student(85.0, model="tinybert-l6", **fields),
        student(86.0, model="bert-base-uncased", layers=(1, 3, 5, 7, 9, 11), **fields),
        teacher,
    ]
    found = find_evidence(test, records)
    assert list(found) == ["bert-base-uncased"] and only(found).effects("best") == {"mrpc": [1.0]}


def test_widths_that_are_allocated_are_compared_with_uniform_ones(student, teachers):
    test = Contrast({}, ({"width_source": ("allocated",)},), ({"width_source": ("uniform",)},))
    fields = {"recipe": "adaqat", "precision": "4-4-4"}
    found = [student(81.0, allocation={"bert.pooler.dense": (2, 4)}, **fields), student(80.0, **fields)]
    assert only(find_evidence(test, found + teachers)).effects("best") == {"mrpc": [1.0]}


def test_runs_that_both_sides_share_cancel_over_examples(student, make_run, monkeypatch):
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
    test = Contrast({}, ({"stages": ("one-stage",)}, "teacher"), ({"stages": ("two-stage",)}, "teacher"))
    records = [run(one, student), run(two, student, stages="two-stage"), run(teacher, make_run)]
    difference = (one[1] == labels).astype(float) - (two[1] == labels)
    expected = 1e4 * difference.var() / 408
    assert only(find_evidence(test, records)).example_variances("best") == {"mrpc": pytest.approx(expected)}
    assert only(find_evidence(STAGES, records)).example_variances("last") == {"mrpc": pytest.approx(expected)}
    # Two seeds whose errors are independent halve the variance of their mean, a copy of the first would not.
    again = [run(one, student, seed=1), run(two, student, stages="two-stage", seed=1)]
    assert only(find_evidence(STAGES, records + again)).example_variances("best") == {"mrpc": pytest.approx(expected)}


class TestSpread:
    def records(self, student, seeds=(42, 111, 222), lengths=None, **fields):
        lengths = lengths or {"mrpc": 192 / 115, "rte": 192 / 78}
        return [
            student(score + i, task=task, seed=seed, epochs=lengths[task], **fields)
            for task, score in (("mrpc", 80.0), ("rte", 70.0))
            for i, seed in enumerate(seeds)
        ]

    def test_one_configuration_on_two_tasks(self, student, teachers):
        evidence = only(find_evidence(Spread({}), self.records(student) + teachers))
        assert evidence.seeds == {"mrpc": {42, 111, 222}, "rte": {42, 111, 222}}
        assert len({setting.group for setting in evidence.settings}) == 1

    def test_tasks_are_trained_for_one_budget_or_as_many_steps(self, student, teachers):
        def configurations(lengths):
            found = find_evidence(Spread({}), self.records(student, lengths=lengths) + teachers)
            return len({setting.group for setting in only(found).settings})

        assert configurations({task: paper_passes(task, "A") for task in ("mrpc", "rte")}) == 1
        assert configurations({"mrpc": 2, "rte": 2}) == 2

    def test_other_settings_are_another_configuration(self, student, teachers):
        records = self.records(student) + self.records(student, lora_rank=1)
        settings = only(find_evidence(Spread({}), records + teachers)).settings
        assert len(settings) == 4 and len({setting.group for setting in settings}) == 2


def test_what_a_search_found(student, teachers):
    fields = {"recipe": "adaqat", "precision": "4-4-4", "adaqat": {}}
    records = [
        student(80.0, seed=seed, exploration={"in_regime": True, "mean_weights": bits}, **fields)
        for seed, bits in ((1, 2.25), (2, 2.5))
    ]
    evidence = only(find_evidence(Found({"recipe": ("adaqat",)}, "mean_weights"), records + teachers))
    assert evidence.effects("best") == evidence.effects("last") == {"mrpc": [2.25, 2.5]}


class TestSharedEvaluations:
    """Learned widths are fixed on the way, so that a learned student is evaluated later and fewer times."""

    TEST = Contrast({}, ({"width_source": ("learned",)},), ({"width_source": ("uniform",)},))

    def pair(self, student, uniform, **fields):
        """A student evaluated at the steps 40 and 60 after its widths were fixed, a uniform one at 20, 40 and 60."""
        fields |= {"recipe": "adaqat", "precision": "4-4-4"}

        def run(scores, **more):
            record = student(max(scores), scores[-1], **fields, **more)
            entries = zip((60, 40, 20), reversed(scores), strict=False)
            place = record.history[0]
            history = [place | {"step": step, "metrics": dict.fromkeys(record.best, s)} for step, s in entries]
            return dataclasses.replace(record, history=history[::-1])

        return [run((78.0, 76.0), adaqat={}, exploration={"in_regime": True}), run(uniform)]

    def test_the_best_of_the_partner_is_one_of_the_same_steps(self, student, teachers):
        evidence = only(find_evidence(self.TEST, self.pair(student, (80.0, 77.0, 75.0)) + teachers))
        assert evidence.effects("best") == evidence.effects("last") == {"mrpc": [1.0]}
        assert evidence.shortened == ["mrpc"]

    def test_predictions_of_another_evaluation_are_not_taken_for_those_of_the_best(
        self, student, teachers, monkeypatch
    ):
        monkeypatch.setattr("xtcq_book.claims.evidence.influence", lambda record, score: np.ones(408))
        early = only(find_evidence(self.TEST, self.pair(student, (80.0, 77.0, 75.0)) + teachers))
        assert early.example_variances("best") is None and early.example_variances("last") == {"mrpc": 0.0}
        late = only(find_evidence(self.TEST, self.pair(student, (70.0, 77.0, 75.0)) + teachers))
        assert late.shortened == [] and late.example_variances("best") == {"mrpc": 0.0}

    def test_a_teacher_and_a_run_of_another_length_keep_all_of_theirs(self, student, teachers):
        learned, _ = self.pair(student, (80.0, 77.0, 75.0))
        against = Contrast({}, ({"width_source": ("learned",)},), ("teacher",))
        assert only(find_evidence(against, [learned, *teachers])).effects("best") == {"mrpc": [78.0 - 86.0]}
        _, longer = self.pair(student, (80.0, 77.0, 75.0), epochs=9)
        lengths = Contrast(
            {}, ({"width_source": ("learned",), "epochs": (3.0,)},), ({"width_source": ("uniform",), "epochs": (9.0,)},)
        )
        assert only(find_evidence(lengths, [learned, longer, *teachers])).effects("best") == {"mrpc": [-2.0]}


@pytest.mark.parametrize("test", [Spread({"precision": ("1-1-8",)}), Found({"precision": ("1-1-8",)}, "mean_weights")])
def test_students_of_two_teachers_are_two_settings(student, make_run, test):
    teachers = {rate: make_run(86.0, learning_rate=rate) for rate in (1e-4, 2e-4)}
    records = [
        student(80.0 + seed, seed=seed, teacher=teachers[rate].experiment, exploration={"mean_weights": 2.0})
        for rate, seeds in ((1e-4, (1, 2)), (2e-4, (2, 3, 4)))
        for seed in seeds
    ]
    evidence = only(find_evidence(test, records + list(teachers.values())))
    (setting,) = evidence.settings
    assert {r.experiment.teacher.learning_rate for r in evidence.records} == {2e-4} and set(setting.terms) == {2, 3, 4}
    assert evidence.gated == ["mrpc: 1 with another teacher, start or length, beside one with as many seeds or more"]


def test_two_runs_of_one_seed_are_never_one(student, teachers):
    start = Experiment(task="mrpc", epochs=3, learning_rate=1e-4, stages="one-stage", teacher=teacher_of())
    records = [student(80.0, start=dataclasses.replace(start, seed=seed)) for seed in (1, 2)]
    assert "runs of one seed begin with several others" in left_out(
        find_evidence(Spread({"stages": ("one-stage",)}), records + teachers)
    )

import json
import shutil
from dataclasses import replace

import pytest

from xtcq.adaqat import AdaQATSettings
from xtcq.allocation import Allocation, FracBits, SearchSpace, cheapest, random, sensitivities
from xtcq.quantization import QuantConfig, get_widths, quantize
from xtcq.study import Experiment, load_record, load_student, record_path, run, runs
from xtcq.training.allocated import calibration_batches

TEACHER = Experiment(task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2)
STUDENT = Experiment(
    task="mrpc",
    epochs=2,
    learning_rate=1e-3,
    evaluations=2,
    precision="8-4-8",
    recipe="adaqat",
    stages="one-stage",
    teacher=TEACHER,
)
RANDOM = Allocation(method="random", budget=12, seed=5)
FISHER = Allocation(method="sensitivity", budget=12, batches=2)


def allocated(settings, **fields):
    return replace(STUDENT, allocation=settings, **fields)


def test_an_allocation_is_part_of_the_value():
    experiment = allocated(FISHER)
    again = Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))
    assert again == experiment and again.digest == experiment.digest
    digests = {e.digest for e in (STUDENT, experiment, allocated(RANDOM), allocated(replace(RANDOM, seed=6)))}
    assert len(digests) == 4
    assert STUDENT.to_dict()["allocation"] is None
    assert "sensitivity 12 batches=2" in str(experiment)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"allocation": RANDOM, "recipe": "xtc"}, "recipe 'xtc' has one width for all layers"),
        ({"allocation": RANDOM, "precision": "4-4-4"}, "method 'random' replaces: write '8-4-8'"),
        ({"allocation": replace(RANDOM, most=6)}, "write '6-4-6'"),
        ({"allocation": RANDOM, "adaqat": AdaQATSettings()}, "adaqat and allocation both choose the widths"),
        ({"allocation": "random"}, "allocation is 'random': give Allocation"),
        ({"allocation": FISHER, "teacher": None, "stages": "finetune"}, "a sensitivity is measured on trained weights"),
        (
            {"allocation": Allocation(method="fracbits", budget=12, most=6)},
            "begins, and widths shall be from 2 to 6: begin with '6-4-6'",
        ),
    ],
)
def test_an_allocation_that_does_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(STUDENT, **fields)


def test_random_widths_are_trained_and_recorded(taught):
    record = run(allocated(RANDOM))
    student, _ = load_student(allocated(RANDOM))
    space = SearchSpace.of(student)
    assert get_widths(student) == random(space, 12, 5)
    assert record.bitops == space.bitops(get_widths(student))
    assert record.exploration["widths"] == {name: list(pair) for name, pair in get_widths(student).items()}
    assert record.exploration["average"] <= 12 and record.exploration["passes"] == 0
    assert load_record(record_path(allocated(RANDOM))) == record
    assert run(STUDENT).exploration is None


def test_a_sensitivity_is_that_of_the_teachers_weights(taught, word_task, word_tokenizer, tiny_bert):
    record = run(allocated(FISHER))
    teacher, _ = load_student(TEACHER)
    data = list(calibration_batches(word_task, word_tokenizer, 2, 0))
    space = SearchSpace.of(quantize(tiny_bert(), QuantConfig("8-4-8", recipe="adaqat")))
    widths = cheapest(sensitivities(teacher, data, space), space, 12)
    assert record.exploration["widths"] == {name: list(pair) for name, pair in widths.items()}
    assert record.exploration["passes"] == 4 and record.exploration["seconds"] > 0


def test_a_run_that_goes_on_keeps_the_widths_that_it_began_with(taught, monkeypatch):
    original = runs.train

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(allocated(FISHER))
    monkeypatch.setattr(runs, "train", original)
    monkeypatch.setattr("xtcq.training.allocated.choose_widths", interrupted)
    record = run(allocated(FISHER))
    assert record.exploration["passes"] == 4


def test_fracbits_explores_within_the_training_and_ends_at_its_budget(taught):
    experiment = allocated(Allocation(method="fracbits", budget=12, share=0.25))
    plan = experiment.plan()
    assert [stage.explores for stage in plan] == [True, False]
    assert [stage.epochs for stage in plan] == [0.5, 1.5]
    record = run(experiment)
    assert record.history[-1]["epoch"] == run(allocated(RANDOM)).history[-1]["epoch"]  # nobody trains longer
    found = record.exploration
    assert (found["steps"], found["planned_steps"], found["ended"]) == (6, 6, "budget")
    assert len(found["trace"]) == 6 and found["trace"][0][3] > 50 > found["trace"][-1][3]
    student, _ = load_student(experiment)
    assert found["widths"] == {name: list(pair) for name, pair in get_widths(student).items()}
    assert found["average"] == SearchSpace.of(student).average(get_widths(student)) <= 12


def test_fracbits_goes_on_after_an_interruption_as_if_there_had_been_none(taught, monkeypatch):
    experiment = allocated(Allocation(method="fracbits", budget=12, share=0.75), evaluations=8)
    whole = run(experiment)
    record_path(experiment).unlink()
    shutil.rmtree(taught / "runs" / experiment.digest)
    original, steps = FracBits.step, []

    def interrupted(self, *args):
        steps.append(1)
        if len(steps) == 10:
            raise KeyboardInterrupt
        original(self, *args)

    monkeypatch.setattr(FracBits, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(experiment)
    monkeypatch.setattr(FracBits, "step", original)
    again = run(experiment)
    assert again.exploration == whole.exploration
    assert again.best == whole.best


def test_calibration_batches_are_drawn_once_each_and_follow_the_seed(word_task, word_tokenizer):
    def ids(count, seed):
        return [batch["input_ids"].tolist() for batch in calibration_batches(word_task, word_tokenizer, count, seed)]

    assert ids(3, 1) == ids(3, 1) != ids(3, 2)
    assert [len(batch) for batch in ids(3, 1)] == [8, 8, 8]
    assert sum(map(len, ids(1000, 1))) == len(word_task.train)
    batch = next(calibration_batches(word_task, word_tokenizer, 1, 0))
    assert set(batch) == {"input_ids", "token_type_ids", "attention_mask", "labels"}

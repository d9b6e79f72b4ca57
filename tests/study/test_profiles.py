import json
import math

import pytest

from xtcq.study import Experiment, load_profile
from xtcq.tasks import task_spec


@pytest.mark.parametrize("name", ["demo", "mini", "paper"])
def test_every_profile_names_real_tasks_and_makes_valid_experiments(name):
    profile = load_profile(name)
    assert set(profile.grid_tasks) <= set(profile.tasks)
    for task in profile.tasks:
        student = profile.student(task, precision="1-1-8", stages="three-stage")
        assert student.teacher == profile.teacher(task)
        assert student.epochs == profile.epochs(task, profile.budget)
        assert task_spec(task).synthetic == (name == "demo")
    for task in profile.question_tasks:
        student = profile.student(task, precision="2-2-8", stages="one-stage")
        assert student.teacher == profile.teacher(task)
        assert task_spec(task).head == "questions" and task_spec(task).synthetic == (name == "demo")


def test_steps_of_questions_are_counted_in_windows():
    mini, spec = load_profile("mini"), task_spec("squad-articles")
    per_epoch = math.ceil(spec.windows / spec.batch_size)
    assert spec.windows > spec.rows["train"]
    assert math.ceil(mini.epochs("squad-articles", "short") * per_epoch) == mini.budgets["short"]


def test_budget_by_name():
    profile = load_profile("mini")
    assert profile.student("mrpc", budget="C").epochs == 18
    with pytest.raises(
        ValueError, match=r"budget 'D' is unknown at the mini profile: use one of \['short', 'longer', 'A', 'B', 'C'\]"
    ):
        profile.student("mrpc", budget="D")


@pytest.mark.parametrize("task", ["mrpc", "sst2", "rte"])
@pytest.mark.parametrize("name", ["mini", "paper"])
def test_a_budget_is_recognised_by_its_length(name, task):
    profile = load_profile(name)
    for budget in profile.budgets:
        # As it comes back from a Record.
        fields = json.loads(json.dumps(profile.student(task, budget=budget).to_dict()))
        assert profile.budget_name(Experiment.from_dict(fields)) == budget
    assert profile.budget_name(profile.student(task, epochs=4.5)) == "4.5 epochs"


@pytest.mark.parametrize("task", ["mrpc", "sst2", "cola"])
def test_a_budget_in_steps_takes_that_many(task):
    spec, mini = task_spec(task), load_profile("mini")
    per_epoch = math.ceil(spec.rows["train"] / spec.batch_size)
    # The Trainer rounds a fraction of an epoch up to whole steps.
    assert math.ceil(mini.epochs(task, "short") * per_epoch) == mini.budgets["short"]


def test_a_teacher_is_capped_in_steps():
    mini = load_profile("mini")
    assert mini.teacher("mrpc").epochs == 3.0
    assert mini.teacher("sst2").epochs == pytest.approx(1000 / 2105, abs=1e-3)

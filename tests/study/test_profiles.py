import pytest

from xtcq.study import load_profile
from xtcq.tasks import task_spec


@pytest.mark.parametrize("name", ["demo", "mini", "paper"])
def test_every_profile_names_real_tasks_and_makes_valid_experiments(name):
    profile = load_profile(name)
    assert set(profile.grid_tasks) <= set(profile.tasks)
    for task in profile.tasks:
        student = profile.student(task, precision="1-1-8", stages="three-stage")
        assert student.teacher == profile.teacher(task)
        assert student.epochs == profile.budgets[profile.budget]
        assert task_spec(task).synthetic == (name == "demo")


def test_budget_by_name():
    profile = load_profile("mini")
    assert profile.student("mrpc", budget="C").epochs == 18
    with pytest.raises(ValueError, match=r"budget 'D' is unknown at the mini profile: use one of \['A', 'B', 'C'\]"):
        profile.student("mrpc", budget="D")

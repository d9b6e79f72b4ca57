import json
import math

import pytest

from xtcq.study import Experiment, load_profile, regime, stored
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
    assert spec.windows > spec.rows["train"]
    assert spec.epoch_steps == math.ceil(spec.windows / spec.batch_size)
    assert mini.student("squad-articles").steps == mini.budgets["short"]


def test_budget_by_name():
    profile = load_profile("mini")
    assert profile.student("mrpc", budget="C").epochs == 18
    with pytest.raises(
        ValueError,
        match=r"budget 'D' is unknown at the mini profile: use one of \['quarter', 'short', 'longer', 'long', ",
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


@pytest.mark.parametrize("task", ["mrpc", "sst2", "cola", "rte", "stsb"])
@pytest.mark.parametrize("budget", ["short", "longer", "long"])
def test_a_budget_in_steps_takes_that_many(task, budget):
    mini = load_profile("mini")
    assert mini.student(task, budget=budget).steps == mini.budgets[budget]


def test_the_paper_adds_sentences_to_the_six_tasks_of_table_c1():
    paper = load_profile("paper")
    made = {task: paper.student(task, precision="1-1-8", stages="one-stage") for task in paper.tasks}
    assert {task for task, student in made.items() if student.augmentation == "tinybert"} == {
        *("cola", "mrpc", "qnli", "rte", "sst2", "stsb")
    }
    assert {made["mnli"].augmentation, paper.teacher("rte").augmentation} == {"none"}
    assert paper.student("rte", augmentation="none").augmentation == "none"


@pytest.mark.parametrize(
    ("task", "fields", "every"),
    [
        ("mnli", {}, 1000),
        ("rte", {}, 1000),
        ("cola", {"recipe": "adaqat", "precision": "2-4-4"}, 50),
        ("squad1", {"recipe": "adaqat", "precision": "2-4-4"}, 200),
    ],
)
def test_the_paper_is_evaluated_every_so_many_steps(task, fields, every):
    student = load_profile("paper").student(task, stages="one-stage", **fields)
    assert student.steps / student.evaluations == pytest.approx(every, rel=0.1)
    assert load_profile("paper").student(task, stages="one-stage", evaluations=3, **fields).evaluations == 3


def test_full_precision_students_of_fewer_layers_have_the_longest_budget():
    paper = load_profile("paper")
    assert paper.reduced("mnli", 6).epochs == 36 and paper.reduced("mnli", 6, budget="A").epochs == 3
    assert paper.student("qqp", model="minilm-l6-768", stages="one-stage").epochs == 36
    small = paper.small("mnli", 6, "1-1-8", budget="A")
    assert (small.epochs, small.start.epochs) == (3, 36) and paper.small("mnli", 6, "1-1-8").epochs == 18
    assert paper.reduced("rte", 5).epochs == paper.epochs("rte", "C")
    assert {paper.budget_name(run) for run in (small.start, paper.reduced("rte", 5))} == {"C"}


def test_a_search_takes_the_settings_of_its_widths():
    learned = load_profile("mini").learned("mrpc", 2.0, pressure="bitops", granularity="network", budget="long")
    assert (learned.adaqat.pressure, learned.adaqat.lambda_weights) == ("bitops", 0.04)


def test_a_student_of_all_layers_begins_as_its_teacher():
    mini = load_profile("mini")
    whole = mini.small("rte", 6, "1-1-8", seed=111)
    assert whole == mini.student("rte", precision="1-1-8", stages="one-stage", seed=111) and whole.start is None
    assert mini.small("rte", 6, "2-2-8", stages="two-stage").stages == "two-stage"
    assert mini.small("rte", 5, "1-1-8").start == mini.reduced("rte", 5)
    learned = mini.learned("rte", granularity="network", budget="long", **mini.cut("rte", 3))
    assert (learned.kept, learned.start) == ((1, 3, 5), mini.reduced("rte", 3)) and mini.cut("rte", None) == {}


@pytest.mark.parametrize("task", ["rte", "mnli", "squad2"])
def test_the_search_of_the_paper_has_the_rate_of_the_published_code(task):
    learned = load_profile("paper").learned(task)
    search = regime.start_widths(learned, regime.search_settings(learned))
    assert (search.eta, len(search.sizes), learned.learning_rate) == (0.1, 72 + (task != "squad2"), 2e-5)
    assert learned.steps == load_profile("paper").student(task, recipe="adaqat", precision="2-4-4").steps == 160_000


def test_a_teacher_is_capped_in_steps():
    mini = load_profile("mini")
    assert mini.teacher("mrpc").epochs == 5.0
    assert mini.teacher("sst2").steps == 2000


def test_a_teacher_is_the_best_of_its_sweep():
    """The rates that a profile names are those that its Records say."""
    mini = load_profile("mini")
    swept = {}
    for task in mini.tasks:
        sweep = stored(mini.teacher_sweep(task))
        if len(sweep) == len(mini.teacher_sweep_rates):
            best = max(sweep, key=lambda record: record.best[task_spec(task).primary_metric])
            swept[task] = best.experiment.learning_rate
    assert swept and mini.teacher_rates == swept

import json
from pathlib import Path

import minutes
import pytest

from xtcq.study import Experiment

ROOT = Path(__file__).parents[2]


def test_the_line_goes_through_the_timed_steps():
    timed = json.loads(minutes.TIMED.read_text())
    fixed, slope = minutes._line("fine-tuning")
    for tokens, kinds in timed["tokens"].items():
        step = 1000 * (fixed + slope * timed["batch_size"] * int(tokens))
        assert step == pytest.approx(kinds["fine-tuning"]["ms (median)"])


def test_half_the_layers_take_half_of_what_is_theirs():
    whole = Experiment(task="sst2", epochs=1, learning_rate=1e-4)
    half = Experiment(task="sst2", epochs=1, learning_rate=1e-4, model="minilm-demo")
    fixed, _ = minutes._line("fine-tuning")
    times = [minutes.seconds(run)[0] / run.steps - fixed for run in (whole, half)]
    assert times[1] == pytest.approx(times[0] / 3)


def test_a_large_encoder_is_computed_and_a_small_one_waits_for_its_launches():
    small, large = (
        minutes.seconds(run)[1] / run.steps
        for run in (
            Experiment(task="cola", epochs=1, learning_rate=1e-4),
            Experiment(task="mrpc", epochs=1, learning_rate=1e-4, model="bert-base-uncased"),
        )
    )
    assert small == pytest.approx(minutes.LAUNCHED)
    # Three passes over 32 texts of 53 tokens; 2 x 85 M weights a token, and a little for the scores.
    assert large == pytest.approx(3 * 32 * 53 * 2 * 85e6 / minutes.T4, rel=0.05)


def test_minutes_as_said():
    assert [minutes._said(value) for value in (0.4, 1.2, 63.7, 129.0, 8312.0)] == ["<1", "1", "64", "130", "8300"]


def test_one_more_seed_costs_what_its_students_cost():
    notebook = ROOT / "notebooks" / "kd-stages.ipynb"
    of = [minutes.cost(notebook, profile="demo", seeds=[42, 7, 8][:n])[0] for n in range(4)]
    assert of[0] == 0 and of[3] - of[2] == pytest.approx(of[2] - of[1])
    assert of[1] > of[2] - of[1] > 0  # the first pays for the teacher too


@pytest.mark.parametrize("notebook", minutes.templates(), ids=lambda path: path.stem)
def test_the_comments_say_what_is_computed(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    source = "".join(cell["source"])
    assert minutes.agree(minutes.commented(notebook, source), source), "python workflow/minutes.py --write"


def test_estimates_that_agree():
    assert minutes.agree("demo 3 / <1 min, mini 130 / 8 min", "demo 2 / <1 min, mini 120 / 9 min")
    for other in ("demo 2 / 1 min, mini 120 / 9 min", "demo 2 / <1 min, mini 80 / 9 min", "demo 2 / <1 min"):
        assert not minutes.agree("demo 2 / <1 min, mini 130 / 9 min", other)

import math

import pandas as pd
import pytest
from xtcq_book import frame, lead
from xtcq_book.chapters import benchmarks, synthesis
from xtcq_book.claims.judge import judge_all
from xtcq_book.claims.ledger import load_claims

from xtcq.quantization import cost_report
from xtcq.study import load_profile

SCALE = load_profile("mini")
TASKS = ("mrpc", "rte", "sst2", "stsb")


@pytest.fixture
def runs(make_record):
    """A factory of students: points against a teacher of 80, by precision, plan and task."""

    def build(points):
        teachers = [make_record(80.0, **SCALE.teacher(task).to_dict()) for task in TASKS]
        students = []
        for (precision, plan, mib), lost in points.items():
            for task, point in zip(TASKS, lost, strict=False):
                experiment = SCALE.student(task, precision=precision, stages=plan)
                record = make_record(80.0 + point, **experiment.to_dict())
                record.size["packed_mib"] = mib
                students.append(record)
        return frame.to_frame(students, teachers, SCALE)

    return build


def test_a_step_loses_less_than_every_file_that_is_no_larger(runs):
    points = {
        ("1-1-8", "one-stage", 4.2): (-3, -3, -3),
        ("1-1-8", "two-stage", 4.2): (-4, -4, -4),  # as large and worse
        ("2-2-8", "one-stage", 5.8): (-2, -2, -2),
        ("2-4-4", "one-stage", 9.0): (-2.5, -2.5, -2.5),  # larger and worse
        ("4-4-4", "one-stage", 12.0): (-1, -1, -1),
    }
    lost = synthesis.by_task(runs(points))
    assert len(lost) == 5 and list(lost["MiB"]) == [4.2, 4.2, 5.8, 9.0, 12.0]
    assert [len(records) for records in lost["Records"]] == [3] * 5
    steps = synthesis.staircase(lost)
    assert list(steps["mean"]) == [-3, -2, -1]
    text = synthesis.advice(steps, "somewhere")
    assert text.count("<li>") == 3 and "from 5.8 MiB</strong>: 2-2-8" in text and "somewhere" in text
    assert "Below 4.2 MiB nothing was trained" in text


def test_means_are_over_the_tasks_that_all_have_and_untried_recipes_are_no_step(runs):
    points = {
        ("1-1-8", "one-stage", 4.2): (-3, -3, -9),
        ("2-2-8", "one-stage", 5.8): (-2, -2, -2),
        ("4-4-4", "one-stage", 12.0): (0,),  # on a single task
    }
    lost = synthesis.by_task(runs(points))
    assert math.isnan(lost["RTE"].iloc[2])
    assert list(synthesis.staircase(lost)["mean"]) == [-5, -2]
    without = {("1-1-8", "two-stage", 4.2): (-4, -4, -4, -7), **points}
    without["1-1-8", "one-stage", 4.2] = (-3, -3, -3, -8)
    steps = synthesis.staircase(synthesis.by_task(runs(without)))
    assert list(steps["mean"]) == [-3, -2] and steps["elsewhere"].iloc[0] == "STS-B -8.0"
    assert "points against the teacher; on STS-B -8.0 (1 seeds" in synthesis.advice(steps, "")
    few = synthesis.by_task(runs({key: lost[:2] if key[0] == "1-1-8" else lost for key, lost in points.items()}))
    assert list(synthesis.staircase(few)["mean"]) == [-2]


def test_nothing_can_be_advised_without_students(runs):
    lost = synthesis.by_task(runs({}))
    assert "Nothing can be advised" in synthesis.advice(synthesis.staircase(lost), "")


def test_five_runs_are_a_choice(runs):
    found = synthesis.hours(runs({("1-1-8", "one-stage", 4.2): (-3, -3, -3)}))
    assert found["runs"].item() == 3 and found["minutes"].item() == pytest.approx(5 / 60)
    assert found["a choice (hours)"].item() == pytest.approx(25 / 3600)


def test_every_claim_is_counted_once(folders):
    found = synthesis.open_questions(judge_all())
    assert found["claims"].sum() == len(load_claims()) == found.drop(columns="claims").to_numpy().sum()
    assert found.loc["lora", "not run"] == found.loc["lora", "claims"] and found["decided"].sum() > 0


def test_sizes_of_files_shrink_with_layers_and_bits():
    found = synthesis.sizes("minilm-l6", (6, 3), {"2-2-8": "xtc", "1-1-8": "xtc", "2-4-4": "adaqat"})
    assert (found["3 layers"] < found["6 layers"]).all() and (found.loc["1-1-8"] < found.loc["2-2-8"]).all()
    assert found.loc["2-4-4", "6 layers"] == cost_report("minilm-l6", "2-4-4", "adaqat")["packed_mib"]


def test_the_gain_from_length_is_that_of_the_papers_tables():
    assert synthesis.gain_from_length() == {1: pytest.approx(83.44 - 82.38), 2: pytest.approx(84.00 - 83.29)}


def test_speed_names_the_peers_and_the_machine():
    ways = {
        "PyTorch fp32": {"times as fast as PyTorch fp32": 1.0, "times as fast as onnxruntime dynamic int8": 0.5},
        "xtcq 1-1-8": {"times as fast as PyTorch fp32": 5.0, "times as fast as onnxruntime dynamic int8": 0.9},
    }
    batches = {"tiny, 1x8, 1 threads": ways, "tiny, 2x4, 2 threads": ways}
    ways_to_load = ("PyTorch fp32", "onnxruntime dynamic int8", "xtcq")
    load = {
        model: {way: {"processor (s)": one} for way, one in zip(ways_to_load, seconds, strict=True)}
        for model, seconds in {"tiny": (0.2, 0.1, 0.5), "large": (0.3, 0.1, 0.6)}.items()
    }
    data = {
        "inference-cpu": {"device": "A(R) chip", "batches": batches},
        "inference-cpu-amx": {"device": "Another chip", "batches": {"tiny, 1x8, 1 threads": ways}},
        "first_answer-cpu": {"device": "A(R) chip", "load": load},
    }
    text = synthesis.speed({name: benchmarks.Result(name, one) for name, one in data.items()})
    assert "<caption>A 1-bit model" in text
    assert all(f">{cell}<" in text for cell in ("tiny", "1 × 8", "2 × 4", "1 thread", "2 threads"))
    assert text.count(">5.00<") == text.count(">0.90<") == 3
    assert text.count(">–<") == 6  # no shape was timed with both numbers of threads
    assert ">A chip<" in text and ">Another chip<" in text
    assert "benchmarks/results: inference-cpu.json, inference-cpu-amx.json, first_answer-cpu.json." in text
    assert "fp32: tiny on A chip, 0.50, 0.10 and 0.20 s; large on A chip, 0.60, 0.10 and 0.30 s.</p>" in text
    assert "not measured" in synthesis.speed({})


def test_the_published_benchmark_has_what_the_landing_page_says():
    text = synthesis.speed(benchmarks.read(benchmarks.results_folder()))
    assert all(name in text for name in ("MiniLM-L6", "BERT-base", "2 threads", "first answer"))
    assert ">minilm" not in text


def test_labels_that_tell_recipes_apart_are_only_those_that_do(runs):
    found = runs({("1-1-8", "one-stage", 4.2): (-3, -3, -3), ("2-2-8", "one-stage", 5.8): (-2, -2, -2)})
    assert synthesis.by_task(found).index.names == ["layers", "W-E-A", "plan"]
    other = found.assign(augmentation="words", **{"minus teacher": -1.0})
    both = pd.concat([found, other], ignore_index=True)
    assert "augmentation" in synthesis.by_task(both).index.names and set(lead.RECIPE) > {"augmentation"}

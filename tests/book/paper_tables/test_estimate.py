import pytest
from xtcq_book.paper_tables import cells, experiments
from xtcq_book.paper_tables.estimate import Estimate, estimate, forward_operations, training_operations

from xtcq.study import load_profile, record_path, save_record

PAPER = load_profile("paper")


def test_a_pass_is_twice_the_weights_of_the_matrices_and_the_attention():
    # BERT-base's matrices without pooler have 84,934,656 weights; 128 queries meet 128 keys of 768 values, twice.
    expected = 128 * 2 * 84_934_656 + 12 * 2 * 2 * 128 * 128 * 768
    assert forward_operations(PAPER.teacher("rte")) == expected
    assert forward_operations(PAPER.reduced("rte", 6)) == forward_operations(PAPER.teacher("rte")) / 2
    assert forward_operations(PAPER.student("rte", model="minilm-l6-768", stages="one-stage")) == expected / 2
    assert forward_operations(PAPER.teacher("sst2")) < expected / 2


def test_a_step_is_three_passes_and_its_teachers():
    taught = PAPER.student("rte", stages="one-stage", epochs=1, evaluations=2, precision="1-1-8")
    forward = forward_operations(taught)
    assert taught.steps == 78
    assert training_operations(taught) == (forward * (78 * 32 * 3 + 2 * 277), forward * 78 * 32)
    alone = PAPER.teacher("rte", epochs=1, evaluations=1)
    assert training_operations(alone) == (forward * (78 * 32 * 3 + 277), 0.0)


@pytest.mark.parametrize(("granularity", "passes"), [("layer", 4), ("network", 5)])
def test_an_exploration_is_in_fp32_with_a_pass_for_each_width_that_moves(granularity, passes):
    run = PAPER.learned("rte", granularity=granularity, evaluations=1)
    forward = forward_operations(run)
    refined, explored = training_operations(run)
    # 120,000 steps to explore, and 40,000 to refine with a teacher.
    assert explored == forward * 32 * (120_000 * passes + 40_000)
    assert refined == forward * (32 * 3 * 40_000 + 277)


def test_every_run_counts_once_with_all_that_it_needs(folders, make_record):
    runs = experiments(cells("xtc-fig5"))
    took = estimate(runs)
    teacher = runs[0].teacher
    assert (len(runs), took.runs) == (3, 4) and took.steps == sum(run.steps for run in (*runs, teacher))
    assert (took.recorded, took.measured_hours) == (0, 0.0)
    record = make_record(
        **{field: getattr(teacher, field) for field in ("task", "model", "epochs", "learning_rate", "evaluations")}
    )
    save_record(record)
    assert record_path(teacher).exists()
    took = estimate([*runs, *runs])
    assert (took.runs, took.recorded, took.measured_hours) == (4, 1, pytest.approx(5 / 3600))


def test_hours_at_a_rate():
    took = Estimate(1, 1, operations=3.6e15, fp32_operations=0.0, recorded=0, measured_hours=0.0)
    assert took.hours("H100", (0.5, 1.0)) == pytest.approx(1 / (989 / 2))
    with pytest.raises(ValueError, match="card 'P100' is unknown: use one of A100, H100, L40S, L4"):
        took.hours("P100")
    with pytest.raises(
        ValueError, match=r"shares are \(0, 1.5\): give parts of the card's peaks, above 0 and at most 1"
    ):
        took.hours("A100", (0, 1.5))

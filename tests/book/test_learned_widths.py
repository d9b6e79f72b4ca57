import dataclasses

import pytest
import torch
from xtcq_book import labels, learned_widths, plots_widths

from xtcq.quantization import get_widths
from xtcq.study import load_profile

MINI = load_profile("mini")
QUERY, POOLER = "bert.encoder.layer.0.attention.self.query", "bert.pooler.dense"


@pytest.fixture
def explored(make_record):
    """A Record of a run that learned the widths of two layers."""

    def build(experiment, widths=((2, 4), (4, 3)), score=80.0):
        fields = {field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)}
        record = make_record(score, **fields)
        found = {
            "widths": {QUERY: list(widths[0]), POOLER: list(widths[1])},
            "mean_weights": (widths[0][0] + widths[1][0]) / 2,
            "mean_activations": (widths[0][1] + widths[1][1]) / 2,
            "average": 10.0,
            "steps": 3,
            "ended": "budget",
            "eta": 12.0,
            "reach": 1.5,
            "oscillations": {"weights": [1, 0], "activations": [2, 0]},
            "frozen": {"weights": [True, False], "activations": [False, False]},
            # Weights of the first layer from 4 to 2 bits, then activations of the second from 4 to 3.
            "trace": [[0, 0, 0, 2.5], [1, 0, 0, 1.5], [2, 1, 1, 2.6]],
        }
        if experiment.adaqat is not None:
            object.__setattr__(record, "exploration", found)
        return record

    return build


def test_the_table_says_where_widths_came_to_rest(explored):
    records = [explored(MINI.learned("mrpc")), explored(MINI.learned("mrpc", order="published"))]
    frame = learned_widths.table(records, by=labels.search)
    row = frame.loc[("MRPC", "paper", 42)]
    assert (row["W"], row["A"], row["bits²"], row["frozen"], row["oscillations"]) == (3.0, 3.5, 10.0, 25.0, 3)
    assert list(frame.index.get_level_values("widths")) == ["paper", "published order"]
    assert "Seed 42." in learned_widths.show(frame, "Ours.").to_html()


def test_means_over_runs_and_bits_of_uniform_ones(explored):
    learned = [
        explored(MINI.learned("mrpc", granularity="layer")),
        explored(MINI.learned("rte", granularity="layer"), widths=((4, 4), (4, 5))),
    ]
    assert learned_widths.mean_widths(learned) == {QUERY: (3.0, 4.0), POOLER: (4.0, 4.0)}
    uniform = explored(MINI.student("mrpc", recipe="adaqat", precision="2-4-4", stages="one-stage"))
    bits = learned_widths.bits_per_weight([*learned, uniform])
    assert bits.loc[("learned", "distillation"), "MRPC"] == 10.0
    assert bits.loc[("uniform 2-4", "distillation"), "MRPC"] == 8.0


def test_findings_name_what_kept_its_bits(explored):
    text = learned_widths.findings([explored(MINI.learned("mrpc", stages="finetune", granularity="layer"))]).data
    assert "**MRPC, learned, labels**: 3.00 bits for weights and 3.50 for activations after 3 steps" in text
    assert "1 of 4 widths were frozen, and the others stayed where the budget ended them. The search was not" in text
    assert "the paper's: a rate of 12 with up to 1.5 bits a step; a threshold of oscillations of 10." in text
    assert "Weights: pooler keeps most bits (4.00 on average over layers and runs), query fewest (2.00)." in text
    assert "Activations: query keeps most bits (4.00" in text


def test_a_search_says_itself_whether_it_was_the_papers(explored):
    lacked, kept = explored(MINI.learned("mrpc", granularity="layer")), explored(MINI.learned("sst2"))
    lacked.exploration.update(in_regime=False, departures=["3 widths were not frozen"])
    kept.exploration.update(in_regime=True, departures=[])
    text = learned_widths.findings([lacked, kept]).data.splitlines()
    assert text[0].endswith("The search was not the paper's: 3 widths were not frozen.")
    assert "The search was not" not in text[1]
    assert learned_widths.table([lacked, kept])["paper's regime"].tolist() == ["no", "yes"]


def test_widths_that_ended_alike_are_not_ranked(explored):
    text = learned_widths.findings([explored(MINI.learned("mrpc", granularity="kind"), widths=((2, 3), (2, 4)))]).data
    assert "Weights: every kind of matrix ended at 2.00 bits." in text and "Activations: pooler keeps most" in text


def test_distillation_in_the_paper():
    frame = learned_widths.paper_distillation()
    assert frame.loc["Uniform | 2-4-4", "EM gain"] == pytest.approx(75.0 - 73.7)
    assert frame.loc["Mixed-precision | 2.08-4-3.93", "F1 gain"] == pytest.approx(77.9 - 77.2)


def test_mean_traces_follow_the_widths_in_use(explored):
    figure = plots_widths.mean_traces([explored(MINI.learned("mrpc"))])
    (axes,) = figure.axes
    weights, activations = (line.get_xydata().tolist() for line in axes.lines)
    assert weights == [[0, 4], [1, 3.5], [2, 3], [3, 3]]
    assert activations == [[0, 4], [1, 4], [2, 4], [3, 3.5]]


def test_mean_traces_of_groups_count_every_layer(explored):
    record = explored(MINI.learned("mrpc", granularity="kind"))
    query = [QUERY, QUERY.replace(".0.", ".1.")]
    record.exploration["widths"][query[1]] = [3, 4]
    record.exploration["groups"] = [query, [POOLER]]
    record.exploration["trace"] = [[0, 0, 0, 2.9], [1, 0, 1, 1.7], [2, 1, 0, 4.0]]
    (axes,) = plots_widths.mean_traces([record]).axes
    weights, _ = (line.get_xydata().tolist() for line in axes.lines)
    assert weights == [[0, 4], [1, (3 + 3 + 4) / 3], [2, (3 + 3 + 2) / 3], [3, (3 + 3 + 2) / 3]]


def test_masks_that_differ_add_noise(monkeypatch, tiny_bert, word_tokenizer, word_task):
    def load(experiment):
        torch.manual_seed(0)
        return tiny_bert(layers=2).eval(), word_tokenizer

    monkeypatch.setattr(learned_widths, "trained_student", load)
    monkeypatch.setattr(learned_widths, "load_task", lambda name: word_task)
    frame = learned_widths.difference_noise(MINI.teacher("mrpc"), batches=6)
    assert frame.loc["unpaired", "deviation"] > 2 * frame.loc["paired", "deviation"] > 0
    model, _ = load(None)
    assert get_widths(model) == {}

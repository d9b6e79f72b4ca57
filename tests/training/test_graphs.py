import pytest
import torch

from xtcq.distillation import finetune, three_stage
from xtcq.quantization import QuantConfig, quantize, use_score_attention
from xtcq.training import graphs

needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")


@pytest.fixture
def both(fit, tiny_bert, monkeypatch):
    """Train the same student with graphs and without; return both students and results."""

    def run(stages, quantization=None, teacher=None, **changes):
        found = []
        for graphs_on in ("1", "0"):
            monkeypatch.setenv(graphs.VARIABLE, graphs_on)
            student = tiny_bert()
            if quantization:
                use_score_attention(quantize(student, quantization))
            found.append(fit(stages, student, graphs_on, teacher=teacher, **changes))
        return found

    return run


@needs_card
@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("precision", [None, "1-1-8", "2-2-8"])
def test_replayed_steps_are_the_same_steps(both, tiny_bert, precision, compute):
    """Dropout included: a graph draws the numbers that the steps would have drawn."""
    captured = torch.cuda.CUDAGraph.replay
    replays = []
    torch.cuda.CUDAGraph.replay = lambda self: (replays.append(self), captured(self))[1]
    try:
        teacher = use_score_attention(tiny_bert(layers=4))
        plan = three_stage(8) if precision else finetune(8)
        quantization = precision and QuantConfig(precision=precision)
        (one, with_graphs), (two, without) = both(plan, quantization, teacher, compute=compute)
    finally:
        torch.cuda.CUDAGraph.replay = captured
    assert len(replays) > 40
    for (name, ours), theirs in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=lambda text: f"{name}: {text}")
    for ours, theirs in zip(with_graphs.history, without.history, strict=True):
        clocks = {"train_seconds", "wall_seconds"}
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - clocks - {"metrics", "stage_name"}:
            assert ours[key] == pytest.approx(theirs[key], rel=1e-3)
        assert ours.get("metrics") == theirs.get("metrics")


def test_no_graphs_without_a_card(fit_arguments, monkeypatch):
    assert not graphs.uses_graphs(fit_arguments("cpu"))


@pytest.fixture
def fit_arguments():
    class Arguments:
        n_gpu = world_size = gradient_accumulation_steps = 1

    def build(device, **changes):
        arguments = Arguments()
        arguments.device = torch.device(device)
        for name, value in changes.items():
            setattr(arguments, name, value)
        return arguments

    return build


def test_graphs_take_a_whole_batch_on_one_card(fit_arguments):
    assert graphs.uses_graphs(fit_arguments("cuda"))
    assert not graphs.uses_graphs(fit_arguments("cuda", gradient_accumulation_steps=2))

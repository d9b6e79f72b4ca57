from types import SimpleNamespace

import pytest
import torch

from xtcq.distillation import finetune, three_stage
from xtcq.quantization import QuantConfig, quantize, use_score_attention
from xtcq.training import graphs, trainer


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("precision", [None, "1-1-8", "2-2-8"])
def test_replayed_steps_are_the_same_steps(fit, tiny_bert, precision, compute, monkeypatch):
    """Dropout included: a graph draws the numbers that the steps would have drawn."""
    replay, replays = torch.cuda.CUDAGraph.replay, []
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda self: (replays.append(self), replay(self))[1])
    teacher = use_score_attention(tiny_bert(layers=4))
    plan, found = three_stage(8) if precision else finetune(8), []
    for name, uses_graphs in (("replayed", graphs.uses_graphs), ("plain", lambda arguments: False)):
        monkeypatch.setattr(trainer, "uses_graphs", uses_graphs)
        student = tiny_bert()
        if precision:
            use_score_attention(quantize(student, QuantConfig(precision)))
        found.append(fit(plan, student, name, teacher=teacher, compute=compute))
    (one, with_graphs), (two, without) = found
    assert len(replays) > 40
    for (name, ours), theirs in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=lambda text: f"{name}: {text}")
    for ours, theirs in zip(with_graphs.history, without.history, strict=True):
        clocks = {"train_seconds", "wall_seconds"}
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - clocks - {"metrics", "stage_name"}:
            assert ours[key] == pytest.approx(theirs[key], rel=1e-3)
        assert ours.get("metrics") == theirs.get("metrics")


@pytest.mark.parametrize(("device", "parts", "used"), [("cpu", 1, False), ("cuda", 1, True), ("cuda", 2, False)])
def test_graphs_take_a_whole_batch_on_one_card(device, parts, used):
    one = {"n_gpu": 1, "world_size": 1, "gradient_accumulation_steps": parts}
    assert graphs.uses_graphs(SimpleNamespace(**one, device=torch.device(device))) == used

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from xtcq_book.allocators.sensitivity import sensitivities
from xtcq_book.allocators.space import SearchSpace

from xtcq.quantization import LSQQuantizer


def error(x, bits):
    return (x - LSQQuantizer(bits).quantize(x).dequantize()).square()


class Quadratic(nn.Module):
    """Mean over examples of sum over tokens and outputs of (W x - target)^2 / 2, so that every derivative is known."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 3, bias=False).double()

    def forward(self, input_ids, attention_mask, labels):
        y = self.layer(input_ids)
        loss = 0.5 * ((y - labels).square() * attention_mask.unsqueeze(-1)).sum((1, 2))
        return SimpleNamespace(loss=loss.mean())


def batches(count=2, examples=4, tokens=3):
    torch.manual_seed(1)
    mask = torch.ones(examples, tokens, dtype=torch.float64)
    mask[0, 1:] = 0
    return [
        {
            "input_ids": torch.randn(examples, tokens, 5, dtype=torch.float64),
            "attention_mask": mask,
            "labels": torch.randn(examples, tokens, 3, dtype=torch.float64),
        }
        for _ in range(count)
    ]


SPACE = SearchSpace({"layer": 15})


def test_fisher_is_the_mean_over_examples_of_squared_gradients_times_squared_errors():
    model, data = Quadratic(), batches()
    found = sensitivities(model, data, SPACE)["layer"]
    weight, quantizers = model.layer.weight.detach(), {bits: LSQQuantizer(bits) for bits in (2, 3, 4)}
    for bits in (2, 3, 4):
        by_weight = by_input = 0
        quantizers[bits].initialize(data[0]["input_ids"])
        for batch in data:
            for x, mask, target in zip(*batch.values(), strict=True):
                residual = (x @ weight.T - target) * mask[:, None]
                by_weight += ((residual.T @ x).square() * error(weight, bits)).sum()
                at_input = (residual @ weight).square()
                by_input += (at_input * (x - quantizers[bits].quantize(x).dequantize()).square()).sum()
        # two batches of four examples, and the half of the second-order term
        assert found[0][bits] == pytest.approx(float(by_weight) / 8 / 2, rel=1e-6)
        assert found[1][bits] == pytest.approx(float(by_input) / 8 / 2, rel=1e-6)


def test_hessian_is_the_mean_trace_times_the_squared_error():
    model, (data, _) = Quadratic(), batches()
    found = sensitivities(model, [data], SPACE, metric="hessian", probes=1500)["layer"]
    weight, x, mask = model.layer.weight.detach(), data["input_ids"], data["attention_mask"].unsqueeze(-1)
    # The loss is quadratic: d2L/dW2 = mean over examples of the sum over tokens of x x^T, for each of three outputs;
    # d2L/dx2 = W^T W / examples for each of the real tokens.
    trace_weight = 3 * (x.square() * mask).sum() / 4
    trace_input = mask.sum() * weight.square().sum() / 4
    for bits in (2, 3, 4):
        by_weight = trace_weight / 15 * error(weight, bits).sum()
        by_input = trace_input / (mask.sum() * 5) * (error(x, bits) * mask).sum()
        assert found[0][bits] == pytest.approx(float(by_weight) / 2, rel=0.08)
        assert found[1][bits] == pytest.approx(float(by_input) / 2, rel=0.08)


def labelled(padded_batch):
    return {**padded_batch, "labels": torch.tensor([0, 1, 1])}


def linears(model):
    return {
        name: module.weight.numel()
        for name, module in model.bert.named_modules(prefix="bert")
        if isinstance(module, nn.Linear)
    }


@pytest.mark.parametrize("metric", ["fisher", "hessian"])
def test_a_bert_is_measured_and_left_as_it_was(tiny_bert, padded_batch, metric):
    model = tiny_bert().train()
    model.bert.embeddings.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    space = SearchSpace(linears(model))
    first = sensitivities(model, [labelled(padded_batch)], space, metric)
    assert first == sensitivities(model, [labelled(padded_batch)], space, metric)
    assert len(first) == 13
    for name, cost in first.items():
        for widths in cost:
            assert list(widths) == list(range(2, 9)), name
            assert all(value >= 0 for value in widths.values())
        if metric == "fisher":
            assert all(side[2] > 4 * side[8] > 0 for side in cost)
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_more_padding_changes_nothing(tiny_bert, padded_batch, monkeypatch):
    # The step of an input comes from all of the first batch, padding included, as it does in training.
    monkeypatch.setattr(LSQQuantizer, "initialize", lambda self, data: self.step.data.fill_(0.3))
    model = tiny_bert()
    space = SearchSpace(linears(model))
    batch = labelled(padded_batch)
    wider = {name: torch.nn.functional.pad(batch[name], (0, 4)) for name in padded_batch} | {"labels": batch["labels"]}
    short, long = sensitivities(model, [batch], space), sensitivities(model, [wider], space)
    for name in space.sizes:
        for role in (0, 1):
            assert long[name][role][2] == pytest.approx(short[name][role][2], rel=1e-3)

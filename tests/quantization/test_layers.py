import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xtcq.quantization import (
    BinaryQuantizer,
    DynamicQuantizer,
    LSQQuantizer,
    QuantEmbedding,
    QuantLinear,
    TernaryQuantizer,
)


def test_linear_quantizes_input_and_weight_and_not_the_bias():
    linear = nn.Linear(12, 7)
    weight, inputs = TernaryQuantizer(), DynamicQuantizer(8, granularity="token")
    layer = QuantLinear.from_float(linear, weight, inputs)
    x = torch.randn(3, 5, 12)
    assert torch.equal(layer(x), F.linear(inputs(x), weight(linear.weight), linear.bias))


def test_linear_without_quantizers_is_linear():
    linear = nn.Linear(12, 7, bias=False)
    x = torch.randn(5, 12)
    assert torch.equal(QuantLinear.from_float(linear)(x), linear(x))
    assert set(QuantLinear.from_float(linear).state_dict()) == {"weight"}


def test_linear_shares_parameters_and_keeps_their_keys():
    linear = nn.Linear(12, 7).eval()
    layer = QuantLinear.from_float(linear, BinaryQuantizer(), DynamicQuantizer(8))
    assert layer.weight is linear.weight and layer.bias is linear.bias
    assert not layer.training
    assert layer.state_dict().keys() == linear.state_dict().keys()


def test_linear_gradients_are_those_of_the_quantized_values():
    linear = nn.Linear(6, 4).double()
    layer = QuantLinear.from_float(linear, BinaryQuantizer(), DynamicQuantizer(4, granularity="token"))
    x = torch.randn(9, 6, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(9, 4, dtype=torch.float64)
    layer(x).backward(grad)
    torch.testing.assert_close(linear.weight.grad, grad.T @ layer.input_quantizer(x.detach()))
    torch.testing.assert_close(x.grad, grad @ layer.weight_quantizer(linear.weight.detach()))
    torch.testing.assert_close(linear.bias.grad, grad.sum(0))


def test_low_rank_term_starts_at_zero_and_adds_to_the_quantized_weight():
    linear = nn.Linear(12, 7)
    plain = QuantLinear.from_float(linear, BinaryQuantizer(), DynamicQuantizer(8))
    layer = QuantLinear.from_float(linear, BinaryQuantizer(), DynamicQuantizer(8), lora_rank=3)
    x = torch.randn(5, 12)
    assert layer.lora_u.shape == (12, 3) and layer.lora_v.shape == (3, 7)
    assert torch.equal(layer(x), plain(x))
    with torch.no_grad():
        layer.lora_v.normal_()
    weight = layer.weight_quantizer(linear.weight) + (layer.lora_u @ layer.lora_v).T
    torch.testing.assert_close(layer(x), F.linear(layer.input_quantizer(x), weight, linear.bias))


def test_low_rank_term_learns_from_the_first_step():
    layer = QuantLinear(12, 7, weight_quantizer=BinaryQuantizer(), lora_rank=1)
    layer(torch.randn(5, 12)).square().sum().backward()
    assert layer.lora_v.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_low_rank_term_follows_the_dtype(dtype):
    layer = QuantLinear.from_float(nn.Linear(4, 4).to(dtype), BinaryQuantizer(), lora_rank=2)
    assert layer(torch.randn(3, 4, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    "quantizer", [BinaryQuantizer("row"), TernaryQuantizer("row"), TernaryQuantizer(), LSQQuantizer(4)], ids=repr
)
def test_embedding_gives_rows_of_the_quantized_table(quantizer):
    embedding = nn.Embedding(20, 16, padding_idx=0)
    layer = QuantEmbedding.from_float(embedding, quantizer)
    assert layer.weight is embedding.weight and "weight" in layer.state_dict()
    ids = torch.tensor([[4, 0, 19], [4, 4, 1]])
    out = layer(ids)
    assert torch.equal(out, quantizer(embedding.weight)[ids])
    out.sum().backward()
    assert embedding.weight.grad[0].abs().sum() == 0  # the padding row learns nothing
    assert embedding.weight.grad[4].abs().sum() > 0


def test_embedding_refuses_options_that_it_would_drop():
    with pytest.raises(ValueError, match="max_norm.*build the embedding without them"):
        QuantEmbedding.from_float(nn.Embedding(4, 4, max_norm=1.0), BinaryQuantizer("row"))


WEIGHTS = [
    BinaryQuantizer,
    lambda: BinaryQuantizer("row"),
    TernaryQuantizer,
    lambda: TernaryQuantizer("row", clip=2.5),
    lambda: DynamicQuantizer(3),
    lambda: LSQQuantizer(2),
]


@pytest.mark.parametrize("build", WEIGHTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_frozen_linear_layer_is_equal_to_the_bit(build, dtype):
    inputs = DynamicQuantizer(8, granularity="token")
    layer = QuantLinear.from_float(nn.Linear(33, 7).to(dtype), build(), inputs, lora_rank=2)
    with torch.no_grad():
        layer.lora_v.normal_()
    x = torch.randn(3, 5, 33, dtype=dtype)
    before, weight = layer(x), layer.weight_quantizer(layer.weight)
    assert torch.equal(layer.freeze()(x), before)
    assert not layer.codes.is_floating_point() and "weight" not in layer.state_dict()
    assert torch.equal(layer.quantized_weight().dequantize(), weight)


def test_weights_with_a_zero_point_are_not_frozen():
    layer = QuantLinear(8, 4, weight_quantizer=DynamicQuantizer(4, symmetric=False))
    with pytest.raises(ValueError, match="zero point"):
        layer.freeze()
    assert not layer.is_frozen and "weight" in layer.state_dict()


@pytest.mark.parametrize("build", WEIGHTS)
def test_frozen_rows_are_equal_to_the_bit(build):
    layer = QuantEmbedding.from_float(nn.Embedding(50, 37), build())
    frozen = copy.deepcopy(layer).freeze()
    for ids in (torch.tensor([[4, 0, 49], [4, 4, 1]]), torch.tensor([7]), torch.tensor(7), torch.arange(50)):
        assert torch.equal(frozen(ids), layer(ids))


def test_a_weight_in_floating_point_has_no_codes():
    layer = QuantLinear(8, 4, input_quantizer=DynamicQuantizer(8))
    assert (layer.bits, layer.packed_bytes, layer.scales) == (32, 0, 0) and not layer.freeze().is_frozen
    with pytest.raises(ValueError, match="has a weight in floating point, and so no codes: give it a weight_quantizer"):
        layer.quantized_weight()

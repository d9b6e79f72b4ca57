import pytest
import torch
from torch import nn

from xtcq.quantization import (
    BinaryQuantizer,
    DynamicQuantizer,
    FrozenEmbedding,
    FrozenLinear,
    LSQQuantizer,
    QuantEmbedding,
    QuantLinear,
    TernaryQuantizer,
)

WEIGHTS = [
    BinaryQuantizer,
    lambda: BinaryQuantizer("row"),
    TernaryQuantizer,
    lambda: TernaryQuantizer("row", clip=2.5),
    lambda: DynamicQuantizer(3),
    lambda: DynamicQuantizer(8, symmetric=False, granularity="row"),
    lambda: LSQQuantizer(2),
]


@pytest.mark.parametrize("build", WEIGHTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_linear_output_is_equal_to_the_bit(build, dtype):
    inputs = DynamicQuantizer(8, granularity="token")
    layer = QuantLinear.from_float(nn.Linear(33, 7).to(dtype), build(), inputs, lora_rank=2)
    with torch.no_grad():
        layer.lora_v.normal_()
    frozen = FrozenLinear.from_quantized(layer)
    x = torch.randn(3, 5, 33, dtype=dtype)
    assert torch.equal(frozen(x), layer(x))
    assert not frozen.codes.is_floating_point()
    assert torch.equal(frozen.weight, layer.weight_quantizer(layer.weight))


@pytest.mark.parametrize("build", WEIGHTS)
def test_embedding_rows_are_equal_to_the_bit(build):
    layer = QuantEmbedding.from_float(nn.Embedding(50, 37), build())
    frozen = FrozenEmbedding.from_quantized(layer)
    for ids in (torch.tensor([[4, 0, 49], [4, 4, 1]]), torch.tensor([7]), torch.tensor(7), torch.arange(50)):
        assert torch.equal(frozen(ids), layer(ids))


def test_state_holds_integers_and_loads_back():
    layer = QuantLinear.from_float(nn.Linear(8, 4), TernaryQuantizer(), LSQQuantizer(8))
    x = torch.randn(3, 8)
    layer(x)
    frozen = FrozenLinear.from_quantized(layer)
    state = frozen.state_dict()
    assert state["codes"].dtype == torch.int8 and "weight" not in state
    other = FrozenLinear.from_quantized(
        QuantLinear(8, 4, weight_quantizer=TernaryQuantizer(), input_quantizer=LSQQuantizer(8))
    )
    other.load_state_dict(state)
    assert torch.equal(other(x), layer(x))

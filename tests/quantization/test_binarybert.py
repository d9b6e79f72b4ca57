import pytest
import torch
from torch import nn

from xtcq.quantization import (
    BinaryQuantizer,
    DynamicQuantizer,
    LearnedClipQuantizer,
    LSQQuantizer,
    QuantConfig,
    SplitLayer,
    TernaryQuantizer,
    bitops,
    freeze,
    model_size,
    quantization_map,
    quantize,
    split_ternary,
)

CONFIG = QuantConfig("1-1-8", recipe="binarybert")


@pytest.mark.parametrize("granularity", ["tensor", "row"])
@pytest.mark.parametrize("shape", [(30, 50), (7, 33), (1, 64)])
def test_binary_halves_add_up_to_the_ternary_weight(granularity, shape):
    torch.manual_seed(sum(shape))
    weight = 0.1 * torch.randn(shape)
    first, second = split_ternary(weight, granularity)
    binary = BinaryQuantizer(granularity)
    torch.testing.assert_close(binary(first) + binary(second), TernaryQuantizer(granularity)(weight))
    torch.testing.assert_close(first + second, weight)
    assert not torch.equal(first, second)


def test_degenerate_groups():
    weight = torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.0] * 4, [3.0, 0.0, 0.0, -3.0]])
    first, second = split_ternary(weight, "row")
    binary = BinaryQuantizer("row")
    torch.testing.assert_close(binary(first) + binary(second), TernaryQuantizer("row")(weight))
    torch.testing.assert_close(first + second, weight)


def test_small_weights_of_one_sign_keep_the_latent_sum():
    # Six small weights of one sign outweigh the one that is not zero: m would be negative.
    weight = torch.tensor([[1.7, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]) * 0.5
    weight[0, 1:] *= 0.68 * weight.mean() / weight[0, 1]
    first, second = split_ternary(weight, "row")
    assert torch.isfinite(first).all() and (first[0, 0] >= 0 and second[0, 0] >= 0)
    torch.testing.assert_close(first + second, weight)


def test_halves_share_one_quantized_input():
    torch.manual_seed(0)
    linear = nn.Linear(20, 6)
    split = SplitLayer.from_float(linear, input_quantizer=LearnedClipQuantizer(8))
    x = torch.randn(4, 20)
    expected = LearnedClipQuantizer(8)(x) @ TernaryQuantizer()(linear.weight).T + linear.bias
    torch.testing.assert_close(split(x), expected)
    split(x).sum().backward()
    assert split.first.weight.grad is not None and split.second.bias is None


def test_a_split_model_is_the_ternary_one(tiny_bert, padded_batch):
    ternary = quantize(tiny_bert().eval(), QuantConfig("2-2-8", recipe="binarybert"))
    split = quantize(tiny_bert().eval(), CONFIG)
    torch.testing.assert_close(split(**padded_batch).logits, ternary(**padded_batch).logits, rtol=1e-3, atol=1e-4)
    assert isinstance(split.bert.pooler.dense, SplitLayer)
    assert isinstance(split.bert.embeddings.word_embeddings, SplitLayer)
    assert not isinstance(split.classifier, SplitLayer)


def test_which_activations_are_asymmetric(tiny_bert):
    model = quantize(tiny_bert(), CONFIG)
    layer = model.bert.encoder.layer[0]
    assert layer.intermediate.dense.input_quantizer.symmetric and layer.attention.output.dense.input_quantizer.symmetric
    assert not layer.output.dense.input_quantizer.symmetric
    operands = layer.attention.self.operand_quantizers
    assert operands["query"].symmetric and not operands["probabilities"].symmetric
    short = quantize(tiny_bert(), QuantConfig("1-1-4", recipe="binarybert")).bert.encoder.layer[0]
    assert isinstance(short.output.dense.input_quantizer, LSQQuantizer) and short.output.dense.input_quantizer.signed
    assert not short.attention.self.operand_quantizers["probabilities"].signed


def test_two_binary_matrices_cost_two_bits(tiny_bert):
    ternary, split = (quantize(tiny_bert(), QuantConfig(p, recipe="binarybert")) for p in ("2-2-8", "1-1-8"))
    assert bitops(split) == bitops(ternary) == 8 * 2 * (2 * 12 * 32 * 32 + 32 * 32)
    assert model_size(split).nominal_mib == pytest.approx(model_size(ternary).nominal_mib)
    matrices = 2 * 12 * 32 * 32 + 32 * 32 + 101 * 32
    assert model_size(split).parameters == model_size(ternary).parameters + matrices


def test_a_frozen_split_model_is_the_same_to_the_bit(tiny_bert, padded_batch):
    model = quantize(tiny_bert().eval(), CONFIG)
    before, size = model(**padded_batch).logits, model_size(model)
    entries = quantization_map(model)
    assert entries["bert.pooler.dense"]["kind"] == "split" and not entries["bert.pooler.dense"]["frozen"]
    freeze(model)
    torch.testing.assert_close(model(**padded_batch).logits, before, rtol=0, atol=0)
    assert model.bert.pooler.dense.first.is_frozen and model_size(model) == size
    assert bitops(model) == bitops(quantize(tiny_bert(), CONFIG))


def test_no_low_rank_terms_beside_halves():
    with pytest.raises(ValueError, match="splits 1-bit weights in two, which has no low-rank term"):
        QuantConfig("1-1-8", recipe="binarybert", lora_rank=1)


@pytest.mark.parametrize("symmetric", [True, False])
def test_values_are_clipped_and_then_dynamic(symmetric):
    torch.manual_seed(0)
    x = 3 * torch.randn(40, 7)
    quantizer = LearnedClipQuantizer(8, symmetric, initial=1.5)
    with torch.no_grad():
        quantizer.bounds[1] = 2.0
    expected = DynamicQuantizer(8, symmetric)(x.clamp(-1.5, 2.0))
    torch.testing.assert_close(quantizer(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(quantizer(x), quantizer.quantize(x).dequantize(), rtol=0, atol=0)


def test_a_bound_learns_from_what_it_clips():
    x = torch.tensor([-3.0, -2.0, 0.5, 1.0, 4.0, 5.0], requires_grad=True)
    quantizer = LearnedClipQuantizer(8)
    grad = torch.tensor([1.0, 10.0, 100.0, 1000.0, 3.0, 4.0])
    quantizer(x).backward(grad)
    # Below -2.5 lies the first value, above 2.5 the last two; a larger bound moves the clipped value outwards.
    assert quantizer.bounds.grad.tolist() == [-1.0, 7.0]
    assert x.grad.tolist() == [0.0, 10.0, 100.0, 1000.0, 0.0, 0.0]


def test_bounds_stay_on_their_sides_of_zero():
    quantizer = LearnedClipQuantizer(8)
    with torch.no_grad():
        quantizer.bounds.copy_(torch.tensor([-1.0, -2.0]))
    assert quantizer(torch.tensor([-9.0, 9.0])).tolist() == pytest.approx([-1.0, 2.0], rel=1e-2)


def test_state_survives_a_checkpoint_and_short_types():
    quantizer, again = LearnedClipQuantizer(8, initial=1.0), LearnedClipQuantizer(8)
    again.load_state_dict(quantizer.state_dict())
    x = torch.tensor([-2.0, 0.3, 2.0], dtype=torch.bfloat16)
    torch.testing.assert_close(again(x), quantizer(x), rtol=0, atol=0)
    assert again(x).dtype == torch.bfloat16 and again(x).abs().max() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 1}, "expected an integer from 2 to 8"),
        ({"bits": 8, "initial": 0.0}, "initial is 0.0, expected a positive number"),
    ],
)
def test_impossible_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnedClipQuantizer(**arguments)

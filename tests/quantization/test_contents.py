import pytest
import torch

from xtcq.quantization import QuantConfig, freeze, get_widths, quantize, set_widths

QUERY, POOLER = "bert.encoder.layer.0.attention.self.query", "bert.pooler.dense"


@pytest.fixture
def learned(tiny_bert, padded_batch):
    """A tiny BERT of recipe adaqat whose steps are set."""
    model = quantize(tiny_bert().eval(), QuantConfig("4-4-8", "adaqat"))
    with torch.no_grad():
        model(**padded_batch)
    return model


def test_widths_are_those_of_every_linear_in_order(learned):
    widths = get_widths(learned)
    assert list(widths)[0] == QUERY and list(widths)[-1] == POOLER
    assert len(widths) == 2 * 6 + 1 and set(widths.values()) == {(4, 8)}
    assert get_widths(freeze(learned)) == widths


def test_floating_point_is_32_bits(tiny_bert):
    assert set(get_widths(quantize(tiny_bert(), QuantConfig("32-4-8", "xtc"))).values()) == {(32, 8)}
    assert get_widths(tiny_bert()) == {}


@pytest.mark.parametrize("rescaling", ["keep", "rescale"])
def test_steps_follow_as_told(learned, rescaling):
    layer = learned.get_submodule(QUERY)
    before = [layer.weight_quantizer.step.item(), layer.input_quantizer.step.item()]
    set_widths(learned, {QUERY: (2, 8)}, rescaling)
    factor = 7**0.5 if rescaling == "rescale" else 1.0
    assert layer.weight_quantizer.step.item() == pytest.approx(before[0] * factor)
    assert layer.input_quantizer.step.item() == before[1]


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"bert.encoder": (2, 2)}, "'bert.encoder' is no fake-quantized linear layer .* get_widths"),
        ({QUERY: (9, 4)}, f"bits of the weight of {QUERY} is 9, expected an integer from 1 to 8"),
        ({QUERY: (4, 2.5)}, f"bits of the input of {QUERY} is 2.5"),
        ({QUERY: (4, 32)}, f"bits of the input of {QUERY} is 32"),
        ({POOLER: (2, 2), QUERY: (2, 0)}, "is 0, expected"),
        ({QUERY: (4,)}, "expected \\(bits of the weight, bits of the input\\)"),
    ],
)
def test_what_cannot_be_set_changes_nothing(learned, widths, message):
    before = get_widths(learned)
    with pytest.raises(ValueError, match=message):
        set_widths(learned, widths)
    assert get_widths(learned) == before


def test_only_learned_steps_change_width(tiny_bert, learned):
    dynamic = quantize(tiny_bert(), QuantConfig("2-2-8", "xtc"))
    set_widths(dynamic, get_widths(dynamic))  # what a model has, it may be told
    with pytest.raises(ValueError, match="quantized by TernaryQuantizer, whose width is fixed at 2 bits: use recipe"):
        set_widths(dynamic, {QUERY: (4, 8)})
    half = quantize(tiny_bert(), QuantConfig("32-4-8", "adaqat"))
    with pytest.raises(ValueError, match=f"the weight of {QUERY} is in floating point and cannot be given 4 bits"):
        set_widths(half, {QUERY: (4, 8)})
    with pytest.raises(ValueError, match="rescaling is 'halve'"):
        set_widths(learned, {}, "halve")

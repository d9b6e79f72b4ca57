import pytest
import torch

from xtcq.quantization import DynamicQuantizer, LearnedClipQuantizer


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
        ({"bits": 1}, "expects an integer from 2 to 8"),
        ({"bits": 8, "initial": 0.0}, "initial is 0.0, expected a positive bound"),
        ({"bits": 8, "granularity": "token"}, "granularity 'token' is unknown to LearnedClipQuantizer"),
    ],
)
def test_impossible_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnedClipQuantizer(**arguments)

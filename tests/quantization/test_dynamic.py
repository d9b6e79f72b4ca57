import pytest
import torch

from xtcq.quantization import DynamicQuantizer


def reduce_dims(granularity: str) -> tuple[int, ...]:
    return (0, 1) if granularity == "tensor" else (1,)


@pytest.mark.parametrize("granularity", ["tensor", "token", "row"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_symmetric_is_the_closed_formula(bits, granularity):
    torch.manual_seed(bits)
    x = torch.randn(20, 13, dtype=torch.float64)
    scale = x.abs().amax(reduce_dims(granularity), keepdim=True) / (2 ** (bits - 1) - 1)
    quantizer = DynamicQuantizer(bits, granularity=granularity)
    torch.testing.assert_close(quantizer(x), torch.round(x / scale) * scale, rtol=0, atol=1e-12)
    codes = quantizer.quantize(x).codes
    assert codes.dtype == torch.int8
    assert codes.abs().max() == 2 ** (bits - 1) - 1


@pytest.mark.parametrize("granularity", ["tensor", "token", "row"])
@pytest.mark.parametrize("offset", [0.0, 5.0, -5.0])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_asymmetric_is_the_closed_formula(bits, offset, granularity):
    torch.manual_seed(bits)
    x = torch.randn(20, 13, dtype=torch.float64) + offset
    low = x.amin(reduce_dims(granularity), keepdim=True)
    scale = (x.amax(reduce_dims(granularity), keepdim=True) - low) / (2**bits - 1)
    quantizer = DynamicQuantizer(bits, symmetric=False, granularity=granularity)
    torch.testing.assert_close(quantizer(x), torch.round((x - low) / scale) * scale + low, rtol=0, atol=1e-12)
    quantized = quantizer.quantize(x)
    assert quantized.codes.dtype == (torch.uint8 if bits == 8 else torch.int8)
    assert (quantized.codes.min(), quantized.codes.max()) == (0, 2**bits - 1)


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [0.0, 3.3, -1e-30, 1e-42, -7e30])
def test_constant_groups_come_back(value, symmetric, bits):
    x = torch.full((3, 5), value)
    torch.testing.assert_close(DynamicQuantizer(bits, symmetric, "token")(x), x, rtol=1e-6, atol=1e-37)


def test_numbers_below_the_normal_range_do_not_overflow_their_codes():
    x = torch.tensor([1e-45, 190e-45, -190e-45])
    assert DynamicQuantizer(8).quantize(x).codes.abs().max() <= 127


def test_tokens_do_not_see_each_other():
    x = torch.tensor([[1.0, 0.5, 0.25], [1000.0, 3.0, -2.0]])
    assert torch.equal(DynamicQuantizer(8, granularity="token")(x)[0], DynamicQuantizer(8)(x[0]))


def test_clip_bounds_the_range():
    x = torch.tensor([0.1, -0.4, 90.0])
    assert DynamicQuantizer(8, clip=2.5).quantize(x).scale == torch.tensor(2.5) / 127


@pytest.mark.parametrize("bits", [1, 0, 9, 2.0, True, "4"])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match="expects an integer from 2 to 8"):
        DynamicQuantizer(bits)


def test_one_bit_points_to_the_binary_quantizer():
    with pytest.raises(ValueError, match="use BinaryQuantizer"):
        DynamicQuantizer(1)

import pytest
import torch

from xtcq.quantization import DynamicQuantizer, LSQQuantizer, QuantizedTensor


def test_dequantize_subtracts_the_zero_point_and_scales():
    quantized = QuantizedTensor(
        torch.tensor([[0, 255], [7, 3]], dtype=torch.uint8), torch.tensor([[0.5], [2.0]]), torch.tensor([[4.0], [1.5]])
    )
    assert quantized.dequantize().tolist() == [[-2.0, 125.5], [11.0, 3.0]]
    assert quantized.codes.tolist() == [[0, 255], [7, 3]]


def test_dequantize_rounds_once_at_the_end():
    codes, scale = torch.arange(-127, 128, dtype=torch.int8), torch.tensor(0.1003)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        out = QuantizedTensor(codes, scale, dtype=dtype).dequantize()
        assert out.dtype == dtype
        assert torch.equal(out, (codes * scale).to(dtype))


@pytest.mark.parametrize(
    ("quantizer", "levels", "stored"),
    [
        (LSQQuantizer(1), (-1, 1), 2),
        (LSQQuantizer(1, signed=False), (0, 1), 2),
        (LSQQuantizer(3), (-4, 3), 5),
        (LSQQuantizer(8, signed=False), (0, 255), 11),
        (DynamicQuantizer(2, symmetric=False), (0, 3), 3),
    ],
)
def test_a_quantizer_says_which_codes_it_has_and_what_eleven_take(quantizer, levels, stored):
    code_format = quantizer.code_format
    assert (code_format.least, code_format.most) == levels and code_format.packed_bytes(11) == stored
    assert torch.iinfo(code_format.dtype).min <= levels[0] and levels[1] <= torch.iinfo(code_format.dtype).max

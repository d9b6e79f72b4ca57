"""Binary, ternary and dynamic quantizers, and what holds for every quantizer."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xtcq.quantization import (
    BinaryQuantizer,
    DynamicQuantizer,
    LSQQuantizer,
    MedianBinaryQuantizer,
    Quantizer,
    TernaryQuantizer,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(1,), (7,), (1, 1), (5, 3), (33, 17), (2, 3, 19), (2, 4, 5, 8)]
MAKERS = {
    "binary": lambda rows: BinaryQuantizer(),
    "binary-row": lambda rows: BinaryQuantizer("row"),
    "binary-clipped": lambda rows: BinaryQuantizer(clip=0.7),
    "binary-median": lambda rows: MedianBinaryQuantizer(),
    "binary-median-row": lambda rows: MedianBinaryQuantizer("row"),
    "ternary": lambda rows: TernaryQuantizer(),
    "ternary-row": lambda rows: TernaryQuantizer("row"),
    "ternary-clipped": lambda rows: TernaryQuantizer(clip=0.7),
    "symmetric-2": lambda rows: DynamicQuantizer(2),
    "symmetric-8-token": lambda rows: DynamicQuantizer(8, granularity="token"),
    "symmetric-5-clipped": lambda rows: DynamicQuantizer(5, clip=0.7),
    "asymmetric-3": lambda rows: DynamicQuantizer(3, symmetric=False),
    "asymmetric-8-token": lambda rows: DynamicQuantizer(8, symmetric=False, granularity="token"),
    "lsq-1": lambda rows: LSQQuantizer(1),
    "lsq-4": lambda rows: LSQQuantizer(4),
    "lsq-8-unsigned": lambda rows: LSQQuantizer(8, signed=False),
    "lsq-3-row": lambda rows: LSQQuantizer(3, granularity="row", rows=rows),
}


@pytest.fixture(params=MAKERS)
def maker(request):
    return MAKERS[request.param]


def values_of(kind: str, shape: tuple[int, ...]) -> torch.Tensor:
    torch.manual_seed(math.prod(shape))
    x = torch.randn(shape, dtype=torch.float64)
    if kind == "zeros":
        return torch.zeros_like(x)
    if kind == "constant":
        return torch.full_like(x, -1.7)
    if kind == "with zeros":
        return torch.where(x.abs() < 0.5, torch.copysign(torch.zeros_like(x), x), x)
    return x


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["normal", "zeros", "constant", "with zeros"])
def test_forward_equals_dequantized_codes(maker, dtype, kind):
    for shape in SHAPES:
        x = values_of(kind, shape).to(dtype)
        quantizer: Quantizer = maker(shape[0])
        if quantizer.granularity == "row" and isinstance(quantizer, LSQQuantizer) and len(shape) != 2:
            continue
        quantized = quantizer.quantize(x)
        out = quantizer(x)
        assert out.dtype == quantized.dequantize().dtype == dtype
        assert out.shape == quantized.codes.shape == shape
        assert not quantized.codes.is_floating_point()
        assert quantized.scale.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert torch.isfinite(out).all()
        assert torch.equal(out, quantized.dequantize())


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    name=st.sampled_from([name for name in MAKERS if name != "lsq-3-row"]),
)
def test_forward_equals_dequantized_codes_for_any_finite_numbers(values, name):
    x = torch.tensor(values, dtype=torch.float32)
    quantizer = MAKERS[name](1)
    assert torch.equal(quantizer(x), quantizer.quantize(x).dequantize())


def test_input_is_not_changed(maker):
    x = values_of("normal", (6, 5)).float()
    before = x.clone()
    maker(6)(x)
    assert torch.equal(x, before)


def test_non_finite_values_are_not_hidden(maker):
    for bad in (math.nan, math.inf):
        x = values_of("normal", (6, 5)).float()
        x[1, 2] = bad
        quantizer = maker(6)
        if quantizer.clip is not None and bad == math.inf:
            continue  # clipped to the bound, as the rule says
        if isinstance(quantizer, LSQQuantizer):
            quantizer.initialize(torch.ones(6, 5))
            if bad == math.inf:
                continue  # the greatest code, as the rule says
        assert not torch.isfinite(quantizer(x)[1, 2])


def test_binary_is_mean_magnitude_times_sign():
    w = torch.tensor([[0.5, -1.5, 2.0], [-0.25, 0.5, -0.25]], dtype=torch.float64)
    signs = torch.tensor([[1.0, -1, 1], [-1, 1, -1]], dtype=torch.float64)
    torch.testing.assert_close(BinaryQuantizer()(w), signs * (5 / 6), rtol=0, atol=1e-15)
    scales = torch.tensor([[4 / 3], [1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(BinaryQuantizer("row")(w), signs * scales, rtol=0, atol=1e-15)


def test_binary_zeros_are_positive():
    quantized = BinaryQuantizer().quantize(torch.tensor([0.0, -0.0, 3.0, -3.0]))
    assert quantized.codes.tolist() == [1, 1, 1, -1]
    assert quantized.scale.item() == 1.5


def test_a_median_scale_is_the_magnitude_in_the_middle():
    w = torch.tensor([[0.5, -1.5, 2.0], [-0.25, 0.5, -9.0]], dtype=torch.float64)
    signs = torch.tensor([[1.0, -1, 1], [-1, 1, -1]], dtype=torch.float64)
    assert torch.equal(MedianBinaryQuantizer("row")(w), signs * torch.tensor([[1.5], [0.5]]))
    # The lower one of 0.5 and 1.5, whatever the largest is.
    assert torch.equal(MedianBinaryQuantizer()(w), signs * 0.5)
    assert torch.equal(MedianBinaryQuantizer().quantize(w).codes, BinaryQuantizer().quantize(w).codes)


def test_ternary_is_the_closed_formula():
    torch.manual_seed(0)
    w = torch.randn(40, 30, dtype=torch.float64)
    for granularity, dims in (("tensor", (0, 1)), ("row", (1,))):
        threshold = 0.7 * w.abs().mean(dims, keepdim=True)
        above = w.abs() > threshold
        scale = torch.where(above, w.abs(), 0).sum(dims, keepdim=True) / above.sum(dims, keepdim=True)
        expected = torch.where(above, scale * w.sign(), 0)
        torch.testing.assert_close(TernaryQuantizer(granularity)(w), expected, rtol=0, atol=1e-12)


def test_ternary_zero_row_is_zero_beside_another():
    w = torch.tensor([[0.0, -0.0, 0.0], [1.0, -3.0, 0.1]])
    quantized = TernaryQuantizer("row").quantize(w)
    assert quantized.codes.tolist() == [[0, 0, 0], [1, -1, 0]]
    assert quantized.scale.tolist() == [[0.0], [2.0]]


@pytest.mark.parametrize("quantizer", [BinaryQuantizer(), TernaryQuantizer("row"), DynamicQuantizer(4)], ids=repr)
def test_identity_rule_hands_the_gradient_on(quantizer):
    x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(6, 5, dtype=torch.float64)
    quantizer(x).backward(grad)
    assert torch.equal(x.grad, grad)


@pytest.mark.parametrize("quantizer", [BinaryQuantizer(clip=1.0), TernaryQuantizer(clip=1.0)], ids=repr)
def test_clipped_rule_clips_values_and_cuts_the_gradient(quantizer):
    x = torch.tensor([-3.0, -1.0, -0.9, 0.0, 0.9, 1.0, 5.0], dtype=torch.float64, requires_grad=True)
    plain = type(quantizer)()
    out = quantizer(x)
    assert torch.equal(out, plain(x.detach().clamp(-1, 1)))
    out.backward(torch.full_like(x, 2.0))
    assert x.grad.tolist() == [0, 0, 2, 2, 2, 0, 0]


def test_half_precision_is_computed_in_float32():
    x = values_of("normal", (300, 7))
    for dtype in (torch.bfloat16, torch.float16):
        short = x.to(dtype)
        for quantizer in (BinaryQuantizer(), TernaryQuantizer("row"), DynamicQuantizer(8, granularity="token")):
            assert torch.equal(quantizer(short), quantizer(short.float()).to(dtype))


def test_looked_up_rows_are_the_rows_of_the_quantized_table(maker):
    table = torch.randn(11, 24)
    ids = torch.tensor([[3, 10, 3, 0], [7, 7, 1, 2]])
    quantizer = maker(11)
    assert torch.equal(quantizer.look_up(table, ids), quantizer(table)[ids])
    assert torch.equal(quantizer.look_up(table, ids[0, 0]), quantizer(table)[3])


def test_row_wise_look_up_touches_only_the_rows_asked_for():
    seen = []
    quantizer = BinaryQuantizer("row")
    quantizer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    quantizer.look_up(torch.randn(1000, 8), torch.tensor([5, 6]))
    assert seen == [(2, 8)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BinaryQuantizer("channel"), "granularity of BinaryQuantizer is 'channel', expected one of"),
        (lambda: TernaryQuantizer(clip=0.0), r"clip is 0\.0, expected a positive number; use None"),
        (lambda: TernaryQuantizer(clip=math.nan), r"clip is nan, expected a positive number"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_traces_into_one_graph():
    """No quantizer reads a value back: a compiled training step stays in one piece."""

    class All(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.quantizers = torch.nn.ModuleList(make(6) for make in MAKERS.values())

        def forward(self, x):
            return [quantizer(x) for quantizer in self.quantizers]

    x = values_of("normal", (6, 5)).float()
    module = All()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    outputs = []
    for run in (compiled, module):
        leaf = x.clone().requires_grad_()
        out = run(leaf)
        sum((y * x).sum() for y in out).backward()
        outputs.append([*out, leaf.grad])
    for ours, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(q.initialized for q in module.quantizers if isinstance(q, LSQQuantizer))


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


def test_clip_bounds_the_range():
    x = torch.tensor([0.1, -0.4, 90.0])
    assert DynamicQuantizer(8, clip=2.5).quantize(x).scale == torch.tensor(2.5) / 127


@pytest.mark.parametrize("bits", [1, 0, 9, 2.0, True, "4"])
def test_bits_out_of_range(bits):
    remedy = "; for one bit use BinaryQuantizer" if bits == 1 else "$"
    with pytest.raises(ValueError, match=f"expected an integer from 2 to 8{remedy}"):
        DynamicQuantizer(bits)

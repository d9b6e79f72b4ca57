import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xtcq.deploy.bits import CodeFormat, pack_bits, pack_trits, unpack_bits, unpack_trits
from xtcq.quantization import BinaryQuantizer, DynamicQuantizer, LSQQuantizer, TernaryQuantizer

FORMATS = [
    {"quantizer": "binary", "bits": 1},
    {"quantizer": "ternary", "bits": 2},
    *({"quantizer": "lsq", "bits": bits, "signed": signed} for bits in range(1, 9) for signed in (True, False)),
    *({"quantizer": "dynamic", "bits": bits, "symmetric": even} for bits in range(2, 9) for even in (True, False)),
]
SHAPES = st.lists(st.integers(1, 5), max_size=2).flatmap(
    lambda leading: st.integers(0, 37).map(lambda last: (*leading, last))
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), SHAPES, st.integers(0, 2**32 - 1))
def test_unpacking_inverts_packing(weight_format, shape, seed):
    coding = CodeFormat.of(weight_format)
    levels = torch.arange(coding.least, coding.most + 1, coding.stride)
    draw = torch.randint(len(levels), shape, generator=torch.Generator().manual_seed(seed))
    codes = levels[draw].to(coding.dtype)
    packed = coding.pack(codes)
    assert packed.dtype == torch.uint8
    assert packed.shape == (*shape[:-1], coding.packed_bytes(shape[-1]))
    found = coding.unpack(packed, shape[-1])
    assert found.dtype == codes.dtype and torch.equal(found, codes)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_bits_lie_where_the_format_says(bits, count, seed):
    digits = np.random.default_rng(seed).integers(0, 2**bits, count).astype(np.uint8)
    stream = sum(int(digit) << (i * bits) for i, digit in enumerate(digits))
    assert pack_bits(digits, bits).tobytes() == stream.to_bytes(-(-count * bits // 8), "little")
    assert np.array_equal(unpack_bits(pack_bits(digits, bits), bits, count), digits)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=23))
def test_trits_lie_where_the_format_says(digits):
    packed = pack_trits(np.array(digits, np.uint8))
    number = sum(digit * 243 ** (i // 5) * 3 ** (i % 5) for i, digit in enumerate(digits))
    assert sum(int(byte) * 243**i for i, byte in enumerate(packed)) == number
    assert len(packed) == -(-len(digits) // 5) and unpack_trits(packed, len(digits)).tolist() == digits


def test_the_examples_of_the_book():
    binary, ternary, three = (
        CodeFormat.of({"quantizer": "binary", "bits": 1}),
        CodeFormat.of({"quantizer": "ternary", "bits": 2}),
        CodeFormat.of({"quantizer": "lsq", "bits": 3, "signed": True}),
    )
    assert binary.pack(torch.tensor([1, -1, -1, 1, 1, 1, -1, -1, -1, 1], dtype=torch.int8)).tolist() == [0x39, 0x02]
    assert ternary.pack(torch.tensor([1, 0, -1, 0, 1, -1, 1], dtype=torch.int8)).tolist() == [194, 6]
    assert three.pack(torch.tensor([-4, -1, 0, 3], dtype=torch.int8)).tolist() == [0x18, 0x0F]


@pytest.mark.parametrize(
    "quantizer",
    [
        BinaryQuantizer("row"),
        TernaryQuantizer(),
        *(DynamicQuantizer(bits, symmetric) for bits in (2, 5, 8) for symmetric in (True, False)),
        *(LSQQuantizer(bits, signed) for bits in (1, 2, 7, 8) for signed in (True, False)),
    ],
    ids=lambda quantizer: repr(quantizer),
)
def test_the_codes_of_every_quantizer_fit(quantizer):
    torch.manual_seed(0)
    codes = quantizer.quantize(torch.randn(9, 31) * 3).codes
    coding = CodeFormat.of(quantizer.describe())
    assert coding.dtype == codes.dtype
    assert torch.equal(coding.unpack(coding.pack(codes), 31), codes)


def test_rows_of_a_matrix_are_packed_one_by_one():
    coding = CodeFormat.of({"quantizer": "ternary", "bits": 2})
    codes = torch.randint(-1, 2, (4, 7), dtype=torch.int8)
    assert torch.equal(coding.pack(codes)[2], coding.pack(codes[2]))


@pytest.mark.parametrize(
    ("weight_format", "codes"),
    [
        ({"quantizer": "binary", "bits": 1}, [1, 0, -1]),
        ({"quantizer": "ternary", "bits": 2}, [1, 2]),
        ({"quantizer": "lsq", "bits": 3, "signed": True}, [0, 4]),
        ({"quantizer": "lsq", "bits": 3, "signed": False}, [0, -1]),
    ],
)
def test_codes_that_do_not_fit_are_refused(weight_format, codes):
    with pytest.raises(ValueError, match="do not fit: expected"):
        CodeFormat.of(weight_format).pack(torch.tensor(codes, dtype=torch.int8))


def test_bytes_that_do_not_fit_are_refused():
    coding = CodeFormat.of({"quantizer": "ternary", "bits": 2})
    with pytest.raises(ValueError, match="byte 243 is not made of five trits, which give 0 to 242"):
        coding.unpack(torch.tensor([0, 243], dtype=torch.uint8), 10)
    with pytest.raises(ValueError, match="11 codes take 3 bytes, found 2"):
        coding.unpack(torch.tensor([0, 0], dtype=torch.uint8), 11)


@pytest.mark.parametrize(
    ("weight_format", "message"),
    [
        ({"quantizer": "nf4", "bits": 4}, "quantizer 'nf4' is unknown"),
        ({"quantizer": "lsq", "bits": 9, "signed": True}, "bits is 9, expected an integer from 1 to 8"),
        ({"quantizer": "lsq", "bits": "2", "signed": True}, "bits is '2'"),
    ],
)
def test_unknown_formats_are_refused(weight_format, message):
    with pytest.raises(ValueError, match=message):
        CodeFormat.of(weight_format)

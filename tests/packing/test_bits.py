import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xtcq.packing.bits import pack_bits, pack_codes, pack_trits, unpack_bits, unpack_codes, unpack_trits
from xtcq.quantization import BinaryQuantizer, DynamicQuantizer, LSQQuantizer, TernaryQuantizer

BINARY, TERNARY = BinaryQuantizer().code_format, TernaryQuantizer().code_format
FORMATS = [
    BINARY,
    TERNARY,
    *(LSQQuantizer(bits, signed).code_format for bits in range(1, 9) for signed in (True, False)),
    *(DynamicQuantizer(bits, symmetric).code_format for bits in range(2, 9) for symmetric in (True, False)),
]
SHAPES = st.lists(st.integers(1, 5), max_size=2).flatmap(
    lambda leading: st.integers(0, 37).map(lambda last: (*leading, last))
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), SHAPES, st.integers(0, 2**32 - 1))
def test_unpacking_inverts_packing(coding, shape, seed):
    levels = torch.arange(coding.least, coding.most + 1, coding.stride)
    draw = torch.randint(len(levels), shape, generator=torch.Generator().manual_seed(seed))
    codes = levels[draw].to(coding.dtype)
    packed = pack_codes(codes, coding)
    assert packed.dtype == torch.uint8
    assert packed.shape == (*shape[:-1], coding.packed_bytes(shape[-1]))
    found = unpack_codes(packed, coding, shape[-1])
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
    codes = {
        BINARY: ([1, -1, -1, 1, 1, 1, -1, -1, -1, 1], [0x39, 0x02]),
        TERNARY: ([1, 0, -1, 0, 1, -1, 1], [194, 6]),
        LSQQuantizer(3).code_format: ([-4, -1, 0, 3], [0x18, 0x0F]),
    }
    for coding, (values, stored) in codes.items():
        assert pack_codes(torch.tensor(values, dtype=torch.int8), coding).tolist() == stored


@pytest.mark.parametrize(
    ("coding", "codes"),
    [
        (BINARY, [1, 0, -1]),
        (TERNARY, [1, 2]),
        (LSQQuantizer(3).code_format, [0, 4]),
        (LSQQuantizer(3, signed=False).code_format, [0, -1]),
    ],
)
def test_codes_that_do_not_fit_are_refused(coding, codes):
    with pytest.raises(ValueError, match="do not fit: expected"):
        pack_codes(torch.tensor(codes, dtype=torch.int8), coding)


def test_bytes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="byte 243 is not made of five trits, which give 0 to 242"):
        unpack_codes(torch.tensor([0, 243], dtype=torch.uint8), TERNARY, 10)
    with pytest.raises(ValueError, match="11 codes take 3 bytes, found 2"):
        unpack_codes(torch.tensor([0, 0], dtype=torch.uint8), TERNARY, 11)

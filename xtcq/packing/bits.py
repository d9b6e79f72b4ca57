"""Integer codes in as few bytes as they need, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xtcq.quantization.codes import TRITS_PER_BYTE, CodeFormat

_TRIT_TABLE = (np.arange(256)[:, None] // 3 ** np.arange(TRITS_PER_BYTE) % 3).astype(np.uint8)


def pack_bits(digits: np.ndarray, bits: int) -> np.ndarray:
    """Write numbers of ``bits`` bits one after the other, least significant bit first.

    Number i takes the bits i * bits to (i + 1) * bits - 1 of its row, and bit k of a row is bit k % 8 of byte k // 8.
    What is left of the last byte is zero.

    Args:
        digits: uint8 [..., n], each below 2^bits.
        bits: 1 to 8.

    Returns:
        uint8 [..., ceil(n * bits / 8)].
    """
    stream = np.unpackbits(digits[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(_rows(stream), axis=-1, bitorder="little")


def unpack_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Invert ``pack_bits`` of ``count`` numbers a row."""
    if bits == 1:
        return np.unpackbits(packed, axis=-1, count=count, bitorder="little")
    # Eight numbers fill ``bits`` whole bytes and one 64-bit word, which is several times faster than bit by bit.
    groups = _grouped(packed, bits)
    words = np.zeros((*groups.shape[:-1], 8), np.uint8)
    words[..., :bits] = groups
    words = words.view("<u8")
    digits = (words >> np.arange(0, 8 * bits, bits, dtype=np.uint64)) & np.uint64(2**bits - 1)
    return _rows(digits.astype(np.uint8))[..., :count]


def pack_trits(digits: np.ndarray) -> np.ndarray:
    """Write numbers 0, 1 and 2 five to a byte: byte j is the sum of digits[5 j + k] * 3^k, k = 0 to 4.

    Args:
        digits: uint8 [..., n], each below 3. Missing ones of the last byte count as 0.

    Returns:
        uint8 [..., ceil(n / 5)], each below 243.
    """
    lanes = _grouped(digits, TRITS_PER_BYTE)
    packed = lanes[..., -1].copy()
    for lane in reversed(range(TRITS_PER_BYTE - 1)):
        packed *= np.uint8(3)
        packed += lanes[..., lane]
    return packed


def unpack_trits(packed: np.ndarray, count: int) -> np.ndarray:
    """Invert ``pack_trits`` of ``count`` numbers a row.

    Raises:
        ValueError: a byte that no five trits make.
    """
    if packed.size and packed.max() >= 3**TRITS_PER_BYTE:
        raise ValueError(f"byte {packed.max()} is not made of five trits, which give 0 to {3**TRITS_PER_BYTE - 1}")
    # No byte is out of the table's range, and numpy is fastest where it need not raise for one.
    return _rows(_TRIT_TABLE.take(packed, axis=0, mode="clip"))[..., :count]


def _grouped(values: np.ndarray, size: int) -> np.ndarray:
    """Cut rows [..., n] into groups [..., ceil(n / size), size], filled up with zeros."""
    missing = -values.shape[-1] % size
    if missing:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], missing), values.dtype)], axis=-1)
    return values.reshape(*values.shape[:-1], values.shape[-1] // size, size)


def _rows(groups: np.ndarray) -> np.ndarray:
    """Join groups [..., g, size] to rows [..., g * size]."""
    return groups.reshape(*groups.shape[:-2], groups.shape[-2] * groups.shape[-1])


def pack_codes(codes: Tensor, code_format: CodeFormat) -> Tensor:
    """Pack every row of ``codes``.

    Args:
        codes: integers [..., n] of the format's dtype, on any device.
        code_format: which codes there are.

    Returns:
        uint8 [..., packed_bytes(n)] on the CPU.

    Raises:
        ValueError: a code that the format does not have.

    >>> import torch
    >>> from xtcq import TernaryQuantizer
    >>> from xtcq.packing.bits import pack_codes, unpack_codes
    >>> trits = TernaryQuantizer().code_format
    >>> packed = pack_codes(torch.tensor([1, 0, -1, 0, 1, -1, 1], dtype=torch.int8), trits)
    >>> packed
    tensor([194,   6], dtype=torch.uint8)
    >>> unpack_codes(packed, trits, 7)
    tensor([ 1,  0, -1,  0,  1, -1,  1], dtype=torch.int8)
    """
    values, least, stride = codes.cpu().numpy(), code_format.least, code_format.stride
    # Bytes wrap around, so that int8 and uint8 codes take the same path.
    digits = values.view(np.uint8) - np.uint8(least % 256)
    outside = values.size and (values.min() < least or values.max() > code_format.most)
    if outside or (stride == 2 and np.any(digits & 1)):
        raise ValueError(
            f"codes from {values.min()} to {values.max()} do not fit: expected {least} to {code_format.most} in "
            f"steps of {stride}"
        )
    if stride == 2:
        digits >>= 1
    return torch.from_numpy(pack_trits(digits) if code_format.ternary else pack_bits(digits, code_format.bits))


def unpack_codes(packed: Tensor, code_format: CodeFormat, count: int) -> Tensor:
    """Invert ``pack_codes`` of ``count`` codes a row.

    Raises:
        ValueError: the number of bytes does not belong to ``count``, or a byte is not made of five trits.
    """
    expected = code_format.packed_bytes(count)
    if packed.shape[-1] != expected:
        raise ValueError(f"{count} codes take {expected} bytes, found {packed.shape[-1]}")
    data = packed.numpy()
    digits = unpack_trits(data, count) if code_format.ternary else unpack_bits(data, code_format.bits, count)
    # As whole numbers modulo 256, and only then as signed ones.
    codes = np.ascontiguousarray(digits * np.uint8(code_format.stride) + np.uint8(code_format.least % 256))
    return torch.from_numpy(codes).view(code_format.dtype)

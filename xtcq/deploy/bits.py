"""Integer codes in as few bytes as they need, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

# Five trits are one byte, because 3^5 = 243 <= 256: 1.6 bits a trit, where log2(3) = 1.585 is the bound.
_TRITS = 5
_POWERS = 3 ** np.arange(_TRITS)
_TRIT_TABLE = (np.arange(256)[:, None] // _POWERS % 3).astype(np.uint8)
_LANES = 8


def pack_bits(digits: np.ndarray, bits: int) -> np.ndarray:
    """Write numbers of `bits` bits one after the other, least significant bit first.

    Number i takes the bits i * bits to (i + 1) * bits - 1 of its row, and bit k of a row is bit k % 8 of byte k // 8.
    What is left of the last byte is zero.

    Args:
        digits: uint8 [..., n], each below 2^bits.
        bits: 1 to 8.

    Returns:
        uint8 [..., ceil(n * bits / 8)].
    """
    if bits == 1:  # the same bytes, an order of magnitude sooner
        return np.packbits(digits, axis=-1, bitorder="little")
    count = digits.shape[-1]
    # Eight numbers fill `bits` whole bytes, and fit one 64-bit word on the way there.
    lanes = _grouped(digits, _LANES)
    words = np.zeros(lanes.shape[:-1], "<u8")
    for lane in range(_LANES):
        words |= lanes[..., lane].astype("<u8") << np.uint64(lane * bits)
    packed = words[..., None].view(np.uint8)[..., :bits]
    return np.ascontiguousarray(_rows(packed)[..., : -(-count * bits // 8)])


def unpack_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Invert `pack_bits`.

    Args:
        packed: uint8 [..., ceil(count * bits / 8)].
        bits: 1 to 8.
        count: numbers in a row.

    Returns:
        uint8 [..., count].
    """
    if bits == 1:
        return np.unpackbits(packed, axis=-1, count=count, bitorder="little")
    groups = _grouped(packed, bits)
    words = np.zeros((*groups.shape[:-1], 8), np.uint8)
    words[..., :bits] = groups
    words = words.view("<u8")[..., 0]
    digits = np.empty((*words.shape, _LANES), np.uint8)
    for lane in range(_LANES):
        digits[..., lane] = (words >> np.uint64(lane * bits)) & np.uint64(2**bits - 1)
    return _rows(digits)[..., :count]


def pack_trits(digits: np.ndarray) -> np.ndarray:
    """Write numbers 0, 1 and 2 five to a byte: byte j is the sum of digits[5 j + k] * 3^k, k = 0 to 4.

    Args:
        digits: uint8 [..., n], each below 3. Missing ones of the last byte count as 0.

    Returns:
        uint8 [..., ceil(n / 5)], each below 243.
    """
    lanes = _grouped(digits, _TRITS)
    packed = lanes[..., -1].copy()
    for lane in reversed(range(_TRITS - 1)):
        packed *= np.uint8(3)
        packed += lanes[..., lane]
    return packed


def unpack_trits(packed: np.ndarray, count: int) -> np.ndarray:
    """Invert `pack_trits`.

    Args:
        packed: uint8 [..., ceil(count / 5)].
        count: numbers in a row.

    Returns:
        uint8 [..., count].

    Raises:
        ValueError: a byte that no five trits make.
    """
    if packed.size and packed.max() >= 3**_TRITS:
        raise ValueError(f"byte {packed.max()} is not made of five trits, which give 0 to {3**_TRITS - 1}")
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


@dataclass(frozen=True)
class CodeFormat:
    """How the codes of one quantizer are stored: as digits (code - least) / stride.

    Attributes:
        bits: of a digit; 2 for ternary codes, whose digits are trits.
        least: least code, stored as 0.
        stride: distance of neighbouring codes; 2 for one bit, whose codes are -1 and +1.
        ternary: digits are packed five to a byte instead of bit by bit.
    """

    bits: int
    least: int
    stride: int = 1
    ternary: bool = False

    @classmethod
    def of(cls, weight_format: Mapping[str, object]) -> Self:
        """Return the format for the settings that `Quantizer.describe` gives.

        Raises:
            ValueError: a quantizer or a bit-width that is unknown.
        """
        name, bits = weight_format["quantizer"], weight_format["bits"]
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 8:
            raise ValueError(f"bits is {bits!r}, expected an integer from 1 to 8")
        if name == "ternary":
            return cls(2, -1, ternary=True)
        if name not in ("binary", "lsq", "dynamic"):
            raise ValueError(f"quantizer {name!r} is unknown: expected 'binary', 'ternary', 'lsq' or 'dynamic'")
        signed = weight_format.get("signed", weight_format.get("symmetric", True))
        if bits == 1 and signed:
            return cls(1, -1, stride=2)
        return cls(bits, -(2 ** (bits - 1)) if signed else 0)

    @property
    def most(self) -> int:
        """Greatest code that can be stored."""
        return self.least + self.stride * (2 if self.ternary else 2**self.bits - 1)

    @property
    def dtype(self) -> torch.dtype:
        """Integer dtype of the codes."""
        return torch.uint8 if self.most > 127 else torch.int8

    def packed_bytes(self, count: int) -> int:
        """Return the number of bytes that `count` codes take."""
        return -(-count // _TRITS) if self.ternary else -(-count * self.bits // 8)

    def pack(self, codes: Tensor) -> Tensor:
        """Pack every row of `codes`.

        Args:
            codes: integers [..., n] of `dtype`, on any device.

        Returns:
            uint8 [..., packed_bytes(n)] on the CPU.

        Raises:
            ValueError: a code that this format does not have.
        """
        values = codes.cpu().numpy()
        # Bytes wrap around, so that int8 and uint8 codes take the same path.
        digits = values.view(np.uint8) - np.uint8(self.least % 256)
        outside = values.size and (values.min() < self.least or values.max() > self.most)
        if outside or (self.stride == 2 and np.any(digits & 1)):
            raise ValueError(
                f"codes from {values.min()} to {values.max()} do not fit: expected {self.least} to {self.most} in "
                f"steps of {self.stride}"
            )
        if self.stride == 2:
            digits >>= 1
        return torch.from_numpy(pack_trits(digits) if self.ternary else pack_bits(digits, self.bits))

    def unpack(self, packed: Tensor, count: int) -> Tensor:
        """Invert `pack`.

        Args:
            packed: uint8 [..., packed_bytes(count)], on the CPU.
            count: codes in a row.

        Returns:
            Codes [..., count] of `dtype`.

        Raises:
            ValueError: the number of bytes does not belong to `count`, or a byte is not made of five trits.
        """
        if packed.shape[-1] != self.packed_bytes(count):
            raise ValueError(f"{count} codes take {self.packed_bytes(count)} bytes, found {packed.shape[-1]}")
        data = packed.numpy()
        digits = unpack_trits(data, count) if self.ternary else unpack_bits(data, self.bits, count)
        # As whole numbers modulo 256, and only then as signed ones.
        codes = np.ascontiguousarray(digits * np.uint8(self.stride) + np.uint8(self.least % 256))
        return torch.from_numpy(codes).view(self.dtype)

"""Learned step size quantization (LSQ): the quantizer, and the gradient of its step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from xtcq.checks import check_choice, check_integer
from xtcq.quantization.codes import BINARY_CODES, CodeFormat, compute_dtype, decode_, sign_codes
from xtcq.quantization.quantizers import Quantizer

# What becomes of the step when the bit-width changes.
RESCALING = ("keep", "rescale")

Number = TypeVar("Number", float, Tensor)


def step_codes(x: Tensor, step: Tensor, low: int, high: int, binary: bool) -> Tensor:
    """Codes of LSQ as floats: ``round(clip(x / step, low, high))``, or the sign of ``x`` for one signed bit."""
    if binary:
        # No comparison with NaN is true, so its sign would be -1. Clamped to [0, 0], NaN is what it was and all else 0.
        return sign_codes(x).add_(x.clamp(0, 0))
    return (x / step).clamp_(low, high).round_()


class LearnedStep(torch.autograd.Function):
    """Fake quantization with a step size that learns (LSQ, Esser et al., ICLR 2020, equations 1 to 5).

    With r = x / step and code c = round(clip(r, low, high)), the value is c * step, and

    * dL/dx = dL/dq where low <= r <= high, and 0 outside;
    * dL/dstep = gradient_scale * sum of dL/dq * (c - r inside, c outside).

    One signed bit has the codes -1 and +1: c = sign(r), dL/dstep = gradient_scale * sum of dL/dq * c, as ParetoQ's
    ``LsqBinaryTernaryExtension`` has it, and dL/dx is cut outside -1 <= r <= 1.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int, binary: bool, gradient_scale: float) -> Tensor:
        """Return the fake-quantized ``x``; ``step`` is positive and has the dtype that ``x`` is computed in."""
        ctx.save_for_backward(x, step)
        ctx.low, ctx.high, ctx.binary, ctx.gradient_scale = low, high, binary, gradient_scale
        codes = step_codes(x.to(step.dtype), step, low, high, binary)
        return decode_(codes, step).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        """Apply the two rules above."""
        x, step = ctx.saved_tensors
        x, wide_grad = x.to(step.dtype), grad.to(step.dtype)
        ratio = x / step
        residual = step_codes(x, step, ctx.low, ctx.high, ctx.binary)
        if not ctx.binary:
            residual -= _inside(ratio, ratio, ctx.low, ctx.high)
        grad_step = residual.mul_(wide_grad).sum_to_size(step.shape) * ctx.gradient_scale
        grad_x = _inside(wide_grad, ratio, ctx.low, ctx.high).to(grad.dtype)
        return grad_x, grad_step, None, None, None, None


def _inside(values: Tensor, ratio: Tensor, low: int, high: int) -> Tensor:
    """Return ``values`` where low <= ratio <= high, and 0 elsewhere."""
    # aten's hard-tanh gradient is this mask in one vectorised pass, but with strict bounds: they are widened by less
    # than two units in the last place, so that a value exactly on a bound keeps its gradient, as with torch.clamp.
    eps = torch.finfo(compute_dtype(ratio.dtype)).eps
    return torch.ops.aten.hardtanh_backward(values, ratio, low - eps * max(abs(low), 1), high + eps * max(abs(high), 1))


class LSQQuantizer(Quantizer):
    r"""Uniform quantizer with a step size that is trained with the weights.

    .. math:: \hat v = s \operatorname{round}(\operatorname{clip}(v / s, -Q_N, Q_P))

    Signed: :math:`Q_N = 2^{b-1}, Q_P = 2^{b-1} - 1`; unsigned: :math:`Q_N = 0, Q_P = 2^b - 1`. The gradients are those
    of ``LearnedStep``; the step's is scaled by :math:`g = 1 / \sqrt{N Q_P}`, where N is the number of elements that
    share a step (for activations it includes the batch, as in all public code). Source: Esser et al., ICLR 2020;
    lsq-net, LSQuantization and BinaryBERT agree on it.

    One signed bit would have :math:`Q_P = 0` and divide by zero. Its levels are -s and +s instead, with
    :math:`Q_N = Q_P = 1`, the sign as code and the mean magnitude as first step: the rule of ParetoQ
    (``models/utils_quant.py``, ``LsqBinaryTernaryExtension``).

    The parameter ``step`` exists from construction, so that an optimizer can hold it, and is filled in place by the
    first data (a weight, or the first batch): :math:`2\,\mathrm{mean}|v| / \sqrt{Q_P}`, or 1 where the data is all
    zero. Data that hold NaN or infinity set no step; the next do. (A compiled graph cannot look: in it, the first data
    count.) The buffer ``initialized`` keeps that across checkpoints. The step in use is
    ``max(|step|, smallest normal)``: positive whatever the optimizer does.

    ``bits`` may be changed between calls; the step stays, and ``change_bits`` can let it follow. The buffer ``width``
    holds ``bits`` too, so that loading a state dict restores the bit-width.

    Args:
        bits: 1 to 8.
        signed: whether codes go below zero.
        granularity: ``"tensor"``, or ``"row"`` for one step per row of a weight.
        rows: number of rows, for granularity ``"row"``.

    Raises:
        ValueError: bits out of range, granularity unknown, or rows missing or not wanted.

    >>> import torch
    >>> from xtcq import LSQQuantizer
    >>> quantizer = LSQQuantizer(2)
    >>> quantizer(torch.tensor([0.5, -1.0, 2.5, 0.0]))  # the first step is 2 mean|v| = 2
    tensor([0., -0., 2., 0.], grad_fn=<LearnedStepBackward>)
    >>> quantizer.quantize(torch.tensor([0.5, -1.2, 2.5, -9.0])).codes
    tensor([ 0, -1,  1, -2], dtype=torch.int8)
    """

    name = "lsq"
    granularities = ("tensor", "row")
    step: nn.Parameter
    initialized: Tensor
    width: Tensor

    def __init__(self, bits: int, signed: bool = True, granularity: str = "tensor", rows: int | None = None) -> None:
        super().__init__(bits, granularity)
        if (rows is None) == (granularity == "row"):
            raise ValueError(
                f"rows is {rows!r} with granularity {granularity!r}: give the number of rows for one step per row, "
                "and leave rows out for one step per tensor"
            )
        self.signed = signed
        self.step = nn.Parameter(torch.ones(()) if rows is None else torch.ones(rows, 1))
        self.register_buffer("initialized", torch.tensor(False))
        self.register_buffer("width", torch.tensor(bits, dtype=torch.uint8))
        # The same facts as Python values, here and in ``bits``: reading a buffer would stall an accelerator and break a
        # compiled graph.
        self._ready = False

    @property
    def bits(self) -> int:
        """Bit-width, 1 to 8; may be assigned to."""
        return self._bits

    @bits.setter
    def bits(self, bits: int) -> None:
        self._bits = check_integer("bits", bits, 1, 8)
        if "width" in self._buffers:  # not yet while the base class is being built
            self.width.fill_(bits)

    @torch.no_grad()
    def change_bits(self, bits: int, rescaling: str = "keep") -> None:
        r"""Set ``bits`` and say what becomes of the step.

        Args:
            bits: 1 to 8.
            rescaling: ``"keep"`` leaves the step, as AdaQAT-BERT's published code does: codes beyond the new levels are
                clipped. ``"rescale"`` multiplies it by :math:`\sqrt{Q_P^{old} / Q_P^{new}}`, so that it moves as the
                first step :math:`2\,\mathrm{mean}|v| / \sqrt{Q_P}` does; to and from one signed bit, whose first step
                is :math:`\mathrm{mean}|v|`, by :math:`\sqrt{Q_P^{old}} / 2` and :math:`2 / \sqrt{Q_P^{new}}`. A step
                that no data has set yet is set by the first data at the new width either way.

        Raises:
            ValueError: bits out of range, or rescaling unknown.
        """
        check_choice("rescaling", rescaling, RESCALING)
        before = self._first_step(1.0)
        self.bits = bits
        if rescaling == "rescale" and self._ready:
            # Through ``data``: a graph that waits for its backward pass needs no more of the step than its sign.
            self.step.data.mul_(self._first_step(1.0) / before)

    @property
    def levels(self) -> tuple[int, int]:
        """Least and greatest code, (-Qn, Qp)."""
        if not self.signed:
            return 0, 2**self.bits - 1
        return (-1, 1) if self.bits == 1 else (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)

    @property
    def code_format(self) -> CodeFormat:
        """All integers of ``bits`` bits, or -1 and +1 for one signed bit."""
        return BINARY_CODES if self._binary else CodeFormat.integers(self.bits, self.signed)

    @torch.no_grad()
    def initialize(self, data: Tensor) -> None:
        """Set the step from ``data`` (any shape; [rows, ...] for one step per row), unless that was done before."""
        if self._ready:
            return
        if not (torch.compiler.is_compiling() or self.initialized.is_meta) and self.initialized:
            # Set in the buffers by whoever averages or broadcasts models, and not by loading a state dict. What they
            # copy later is not looked for: `freeze` refuses a width that differs.
            self._ready, self._bits = True, int(self.width)
            return
        mean = self._reduce(torch.mean, data.to(compute_dtype(data.dtype)).abs())
        if not (torch.compiler.is_compiling() or mean.is_meta) and not torch.isfinite(mean).all():
            return
        step = self._first_step(mean)
        self.step.copy_(torch.where(step > 0, step, torch.ones_like(step)))
        self.initialized.fill_(True)
        self._ready = True

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the rounded codes and the step."""
        self.initialize(x)
        step = self._positive(self.step, x.dtype)
        return step_codes(x, step, *self.levels, self._binary), step, None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (any shape; [rows, features] for one step per row) on the levels."""
        self.initialize(x)
        return self._fake_quantize(x, self.step, x.numel())

    def forward_at(self, x: Tensor, bits: int, rescaling: str = "keep") -> Tensor:
        """Return ``x`` as ``forward`` would after ``change_bits(bits, rescaling)``, and change nothing.

        The step takes its gradient through the rescaling. The step must have been set.

        Raises:
            ValueError: bits out of range, or rescaling unknown.
        """
        check_choice("rescaling", rescaling, RESCALING)
        own, before = self._bits, self._first_step(1.0)
        # Not by ``bits``: its buffer stays, and a saved state with it.
        self._bits = check_integer("bits", bits, 1, 8)
        try:
            step = self.step * (self._first_step(1.0) / before) if rescaling == "rescale" else self.step
            return self._fake_quantize(x, step, x.numel())
        finally:
            self._bits = own

    def look_up(self, table: Tensor, ids: Tensor, padding_idx: int | None = None) -> Tensor:
        """Return the rows ``ids`` of ``table``, with values and gradients as if the whole table had been quantized."""
        self.initialize(table)
        step = F.embedding(ids, self.step) if self.granularity == "row" else self.step
        return self._fake_quantize(F.embedding(ids, table, padding_idx), step, table.numel())

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return {**super().describe(), "signed": self.signed}

    @property
    def _binary(self) -> bool:
        return self.signed and self.bits == 1

    def _first_step(self, mean: Number) -> Number:
        return mean if self._binary else 2 * mean / math.sqrt(self.levels[1])

    def _positive(self, step: Tensor, dtype: torch.dtype) -> Tensor:
        dtype = compute_dtype(dtype)
        return step.to(dtype).abs().clamp_min(torch.finfo(dtype).tiny)

    def _fake_quantize(self, x: Tensor, step: Tensor, elements: int) -> Tensor:
        low, high = self.levels
        gradient_scale = 1 / math.sqrt(elements / self.step.numel() * high)
        return LearnedStep.apply(x, self._positive(step, x.dtype), low, high, self._binary, gradient_scale)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if prefix + "initialized" in state_dict:
            self._ready = bool(state_dict[prefix + "initialized"])
        if prefix + "width" in state_dict:
            self.bits = int(state_dict[prefix + "width"])

"""Backward rules: the straight-through estimator and the gradient of a learned step size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from xtcq.quantization.tensor import compute_dtype, decode_, sign_codes


class StraightThrough(torch.autograd.Function):
    """Value of `quantized`, gradient of the identity: dL/dx = dL/dq.

    It is the rule of DeepSpeed (`deepspeed/compression/utils.py`) and of BinaryBERT's binary quantizer. The gradient
    tensor is handed on as it is, so the backward pass costs nothing.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, quantized: Tensor) -> Tensor:
        """Return `quantized`; `x` only takes the gradient."""
        return quantized.view_as(quantized)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        """Hand the gradient to `x`."""
        return grad, None


def step_codes(x: Tensor, step: Tensor, low: int, high: int, binary: bool) -> Tensor:
    """Codes of LSQ as floats: `round(clip(x / step, low, high))`, or the sign of `x` for one signed bit."""
    return sign_codes(x) if binary else (x / step).clamp_(low, high).round_()


class LearnedStep(torch.autograd.Function):
    """Fake quantization with a step size that learns (LSQ, Esser et al., ICLR 2020, equations 1 to 5).

    With r = x / step and code c = round(clip(r, low, high)), the value is c * step, and

    * dL/dx = dL/dq where low <= r <= high, and 0 outside;
    * dL/dstep = gradient_scale * sum of dL/dq * (c - r inside, c outside).

    One signed bit has the codes -1 and +1: c = sign(r), dL/dstep = gradient_scale * sum of dL/dq * c, as ParetoQ's
    `LsqBinaryTernaryExtension` has it, and dL/dx is cut outside -1 <= r <= 1.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, step: Tensor, low: int, high: int, binary: bool, gradient_scale: float
    ) -> Tensor:
        """Return the fake-quantized `x`; `step` is positive and has the dtype that `x` is computed in."""
        ctx.save_for_backward(x, step)
        ctx.low, ctx.high, ctx.binary, ctx.gradient_scale = low, high, binary, gradient_scale
        codes = step_codes(x.to(step.dtype), step, low, high, binary)
        return decode_(codes, step).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
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
    """Return `values` where low <= ratio <= high, and 0 elsewhere."""
    # aten's hard-tanh gradient is this mask in one vectorised pass, but with strict bounds: they are widened by less
    # than two units in the last place, so that a value exactly on a bound keeps its gradient, as with torch.clamp.
    eps = torch.finfo(compute_dtype(ratio.dtype)).eps
    return torch.ops.aten.hardtanh_backward(values, ratio, low - eps * max(abs(low), 1), high + eps * max(abs(high), 1))

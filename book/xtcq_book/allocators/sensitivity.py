"""How much each width of each matrix would raise the task loss, measured on the full-precision model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from xtcq.quantization import LSQQuantizer, use_score_attention
from xtcq_book.allocators.program import Costs
from xtcq_book.allocators.space import LEAST, MOST, SearchSpace


def sensitivities(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    space: SearchSpace,
    metric: str = "fisher",
    probes: int = 8,
    seed: int = 0,
) -> dict[str, Costs]:
    r"""Estimate the second-order rise of the loss for every matrix and width, weights and inputs apart.

    With :math:`\delta_b = v - Q_b(v)` the error of LSQ with b bits and its first step size, for the weights and for
    the layer's inputs v alike:

    * ``"fisher"``: :math:`\frac{1}{2} \sum_i F_{ii} \delta_{b,i}^2`, where the diagonal F of the empirical Fisher
      matrix is the mean over examples of the squared gradient of one example's loss (for inputs: of that example's
      inputs, so the sum over its tokens is inside the mean).
    * ``"hessian"``: :math:`\frac{1}{2} \frac{\operatorname{tr} H}{n} \lVert \delta_b \rVert^2`, where H is the Hessian
      of the mean loss of a batch, its trace is estimated by Hutchinson's method, :math:`\operatorname{tr} H =
      \mathrm{E}[z^\top H z]` with random signs z, and n counts the elements. HAWQ-V2 has this metric without the
      factor 1/2, which is here so that both estimate a loss. An estimate below zero counts as zero, and padding
      takes no part.

    First-order terms are left out, as HAWQ does: at a minimum they are zero. The model is put into evaluation mode, and
    ``"hessian"`` changes its attention function to one that can be differentiated twice, with the same result.

    Args:
        model: full-precision model whose output has the mean ``loss`` of a batch; holds a linear layer under each name
            of ``space``.
        batches: inputs with labels, on any device.
        space: matrices and range.
        metric: ``"fisher"`` or ``"hessian"``.
        probes: random sign vectors a batch, for ``"hessian"``.
        seed: of the sign vectors.

    Returns:
        Costs of every matrix for the widths of the range, of its weights and of its inputs: means over the batches.
    """
    layers = {name: model.get_submodule(name) for name in space.sizes}
    widths = range(LEAST, MOST + 1)
    # The step of an input comes from the first batch, and stays.
    at_input = {(name, bits): LSQQuantizer(bits) for name in layers for bits in widths}
    costs: dict[str, Costs] = {name: (dict.fromkeys(widths, 0.0), dict.fromkeys(widths, 0.0)) for name in layers}
    if metric == "hessian" and isinstance(model, PreTrainedModel):
        use_score_attention(model)
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    for count, batch in enumerate(batches, 1):
        batch = {name: value.to(device) for name, value in batch.items()}
        with _recorded(layers) as (inputs, outputs):
            loss = model(**batch).loss
        if metric == "fisher":
            curvature = _fisher(layers, inputs, outputs, loss, len(batch["input_ids"]))
        else:
            curvature = _hessian(layers, inputs, loss, batch["attention_mask"], probes, generator)
        with torch.no_grad():
            for (name, bits), quantizer in at_input.items():
                of_weight, of_input = curvature[name]
                weight, x = layers[name].weight, inputs[name]
                for role, factor, value, by in (
                    (0, of_weight, weight, LSQQuantizer(bits).to(device)),
                    (1, of_input, x, quantizer.to(device)),
                ):
                    error = (value - by.quantize(value).dequantize()).square()
                    costs[name][role][bits] += 0.5 * float((factor * error).sum())
    return {name: tuple({bits: v / count for bits, v in side.items()} for side in pair) for name, pair in costs.items()}


@torch.no_grad()
def _fisher(
    layers: Mapping[str, nn.Module],
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    loss: Tensor,
    examples: int,
) -> dict[str, tuple[Tensor, Tensor]]:
    """The diagonal of a batch's empirical Fisher matrix, in the shapes of a layer's weight and of its input."""
    with torch.enable_grad():
        # The loss is a mean; times the examples it is their sum, whose gradient holds one example's in each row.
        gradients = torch.autograd.grad(loss * examples, [*inputs.values(), *outputs.values()])
    at_inputs = dict(zip(inputs, gradients, strict=False))
    at_outputs = dict(zip(outputs, gradients[len(inputs) :], strict=True))
    found = {}
    for name, layer in layers.items():
        weight = torch.zeros_like(layer.weight)
        for row, gradient in zip(inputs[name], at_outputs[name], strict=True):
            weight += (gradient.reshape(-1, layer.out_features).T @ row.reshape(-1, layer.in_features)).square()
        found[name] = weight / examples, at_inputs[name].square() / examples
    return found


def _hessian(
    layers: Mapping[str, nn.Module],
    inputs: Mapping[str, Tensor],
    loss: Tensor,
    attention_mask: Tensor,
    probes: int,
    generator: torch.Generator,
) -> dict[str, tuple[Tensor, Tensor]]:
    """The mean of the Hessian's diagonal: one number for a layer's weight, and one for its input where it is real."""
    # The pooler's input [batch, features] has no padding.
    masks = [attention_mask.unsqueeze(-1).to(x.dtype) if x.dim() == 3 else torch.ones_like(x) for x in inputs.values()]
    masks += [torch.ones_like(layer.weight) for layer in layers.values()]
    places = [*inputs.values(), *(layer.weight for layer in layers.values())]
    gradients = torch.autograd.grad(loss, places, create_graph=True)
    traces = [torch.zeros((), device=loss.device) for _ in places]
    for probe in range(probes):
        signs = [
            mask * (2 * torch.randint(0, 2, place.shape, generator=generator, device=place.device) - 1)
            for place, mask in zip(places, masks, strict=True)
        ]
        products = torch.autograd.grad(gradients, places, signs, retain_graph=probe < probes - 1)
        for trace, sign, product in zip(traces, signs, products, strict=True):
            trace += (sign * product).sum() / probes
    means = [
        trace.clamp_min(0) / mask.expand_as(place).sum() * mask
        for trace, mask, place in zip(traces, masks, places, strict=True)
    ]
    return {name: (means[len(layers) + row], means[row]) for row, name in enumerate(inputs)}


@contextmanager
def _recorded(layers: Mapping[str, nn.Module]) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Record the inputs and outputs of layers; an input that several layers share becomes a node for each of them."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    handles = []
    for name, layer in layers.items():

        def before(_: nn.Module, arguments: tuple[Tensor, ...], name: str = name) -> tuple[Tensor]:
            x = arguments[0].view_as(arguments[0])
            inputs[name] = x if x.requires_grad else x.requires_grad_()
            return (inputs[name],)

        def after(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
            outputs[name] = output

        handles += [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
    try:
        yield inputs, outputs
    finally:
        for handle in handles:
            handle.remove()

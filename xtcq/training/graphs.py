"""The forward and backward pass of a training step as a CUDA graph: thousands of small kernels, launched as one.

A student of 22 million parameters keeps a large card busy for a few milliseconds a step, and Python needs tens of them
to launch what it computes. Replayed, the same kernels run with the same random numbers on the same addresses.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

# The first steps of a shape are run as always: they set up what may not be set up during a capture, and a shape that
# is seen no more often is not worth a graph.
EAGER_STEPS = 2


def uses_graphs(arguments: TrainingArguments) -> bool:
    """Whether the steps of a training run as graphs: on one CUDA device, a whole batch a step."""
    alone = arguments.n_gpu == arguments.world_size == arguments.gradient_accumulation_steps == 1
    return arguments.device.type == "cuda" and alone


class StepGraphs:
    """Run forward and backward passes, from a captured graph for every shape of batch that comes often.

    The gradients are those of the step itself, in buffers that all graphs share; whoever sets a parameter's gradient to
    None between steps changes nothing.

    Args:
        step: forward and backward pass of one batch on a CUDA device: takes tensors by name and returns its results,
            detached, by name. It must not read a value back to the processor, nor branch on one.
        parameters: whose gradients it leaves.
    """

    def __init__(self, step: Callable[[dict[str, Tensor]], dict[str, Tensor]], parameters: Iterable[nn.Parameter]):
        self._step = step
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._gradients: dict[nn.Parameter, Tensor] = {}
        self._seen: Counter[Any] = Counter()
        self._captured: dict[Any, tuple[torch.cuda.CUDAGraph, dict[str, Tensor], dict[str, Tensor]]] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Run the step of a batch on the device; results are valid until the next call."""
        shape = tuple((name, value.shape, value.dtype) for name, value in sorted(inputs.items()))
        self._seen[shape] += 1
        if self._seen[shape] <= EAGER_STEPS:
            results = self._step(inputs)
            if not self._gradients:  # made here, outside of the graphs' memory, which every capture uses again
                self._gradients = {p: torch.empty_like(p.grad) for p in self._parameters if p.grad is not None}
            return results
        if shape not in self._captured:
            self._captured[shape] = self._capture(inputs)
        graph, into, results = self._captured[shape]
        for name, value in inputs.items():
            into[name].copy_(value, non_blocking=True)
        graph.replay()
        for parameter, gradient in self._gradients.items():
            parameter.grad = gradient
        return results

    def _capture(self, inputs: dict[str, Tensor]) -> tuple[torch.cuda.CUDAGraph, dict[str, Tensor], dict[str, Tensor]]:
        into = {name: value.clone() for name, value in inputs.items()}
        for parameter in self._parameters:
            parameter.grad = None  # so that the backward pass writes, and does not add to what was there
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            # Other threads may go on: the one that pins batches allocates memory meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                results = self._step(into)
                fresh = [p.grad for p in self._gradients if p.grad is not None]
                torch._foreach_copy_(list(self._gradients.values()), fresh)
            except BaseException:
                with contextlib.suppress(RuntimeError):  # the capture failed as well, and is not the reason
                    graph.capture_end()
                raise
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(self._stream)
        for parameter in self._parameters:
            parameter.grad = None
        return graph, into, results

"""What does learning bit-widths add to a step of quantization-aware training?

Times one optimizer step (forward, backward, clipping, AdamW) of plain fine-tuning with learned steps, and the same with
a step of AdaQAT: per layer in the phase of the weights and in that of the activations, for the network, and with two
more whole passes as the published code makes them. All variants share one batch and take turns, so that a drift of the
machine's speed hits them all. A cycle perturbs every layer once; a layer's ratio is the median over the cycles, and the
ratio of a variant is the mean over the layers, since a late layer costs less than an early one.

    python benchmarks/adaqat_step.py
    python benchmarks/adaqat_step.py --tokens 128 --cycles 1 --json adaqat.json
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from common import adamw, describe, in_turns, write
from torch import Tensor
from transformers import BertForSequenceClassification, PreTrainedModel

from xtcq.adaqat import ACTIVATIONS, WEIGHTS, AdaQAT, AdaQATSettings, narrowed
from xtcq.adaqat.widths import Coordinate
from xtcq.quantization import ARCHITECTURES, QuantConfig, quantize
from xtcq.training import MAX_GRAD_NORM

BASELINE = "QAT"
LAYERWISE = {"layer, weights": WEIGHTS, "layer, activations": ACTIVATIONS}
VARIANTS = (BASELINE, *LAYERWISE, "network", "two more whole passes")


class Turns(AdaQAT):
    """Chooses as ever, and then perturbs one layer after the other; its widths hardly move."""

    def __init__(self, model: PreTrainedModel, role: str) -> None:
        super().__init__(model, AdaQATSettings(eta=1e-12), steps=1)
        for width in self.widths.weights:
            width.frozen = role == ACTIVATIONS
        self._turns = cycle(range(len(self.names)))

    def _chosen(self) -> list[Coordinate]:
        ((role, _),) = super()._chosen()
        return [(role, next(self._turns))]


def make_step(name: str, architecture: str, batch: dict[str, Tensor]) -> Callable[[], None]:
    """Build one variant's student and return a function that takes one optimizer step on the batch."""
    torch.manual_seed(0)
    student = BertForSequenceClassification(
        BertForSequenceClassification.config_class(**ARCHITECTURES[architecture], num_labels=2)
    )
    quantize(student, QuantConfig("4-4-4", "adaqat")).train().to(batch["input_ids"].device)
    optimizer = adamw(student.parameters())

    def loss() -> Tensor:
        return student(**batch).loss

    if name in LAYERWISE:
        adaqat = Turns(student, LAYERWISE[name])
    else:
        adaqat = AdaQAT(student, AdaQATSettings(eta=1e-12, granularity="network"), steps=1)

    def step() -> None:
        if name in (BASELINE, "two more whole passes"):
            if name != BASELINE:
                for role in (WEIGHTS, ACTIVATIONS):
                    with torch.no_grad(), narrowed(adaqat._quantizers((role, 0)), "keep"):
                        loss().item()
            loss().backward()
        else:
            with adaqat.observe():
                found = loss()
                found.backward()
            adaqat.step(found, loss)
        torch.nn.utils.clip_grad_norm_(student.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()

    step()  # sets the steps of the activations
    return step


def measure(architecture: str, tokens: int, batch_size: int, cycles: int, device: torch.device) -> pd.DataFrame:
    """Seconds of every variant, one row a layer and cycle."""
    vocabulary = ARCHITECTURES[architecture]["vocab_size"]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, vocabulary, (batch_size, tokens), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}
    batch = {name: value.to(device) for name, value in batch.items()}
    steps = {name: make_step(name, architecture, batch) for name in VARIANTS}
    layers = 6 * ARCHITECTURES[architecture]["num_hidden_layers"] + 1
    # The turns begin with the second layer, and end with the first: every cycle still has each of them once.
    seconds = in_turns(steps, cycles * layers, warm=1)
    return seconds.assign(layer=seconds.index % layers)


def main(
    architecture: Annotated[str, typer.Option(help=f"one of {', '.join(ARCHITECTURES)}")] = "minilm-l6",
    tokens: Annotated[list[int], typer.Option(help="tokens of every sentence; may be given several times")] = [64],  # noqa: B006
    batch_size: int = 16,
    cycles: Annotated[int, typer.Option(min=1, help="times that every layer is perturbed")] = 3,
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print milliseconds and the ratio to a step without AdaQAT."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = {
        **describe(device),
        "architecture": architecture,
        "batch_size": batch_size,
        "cycles": cycles,
        "tokens": {},
    }
    for length in tokens:
        seconds = measure(architecture, length, batch_size, cycles, device)
        ratios = seconds[list(VARIANTS)].div(seconds[BASELINE], axis=0).groupby(seconds["layer"]).median()
        table = pd.DataFrame(
            {
                "ms (median)": 1000 * seconds[list(VARIANTS)].median(),
                f"x {BASELINE} (mean over layers)": ratios.mean(),
                "cheapest layer": ratios.min(),
                "dearest layer": ratios.max(),
            }
        )
        typer.echo(f"\n{length} tokens x {batch_size}, {result['device']}, {result['threads']} threads")
        typer.echo(table.round(3).to_string())
        result["tokens"][length] = table.to_dict("index")
    write(result, output)


if __name__ == "__main__":
    typer.run(main)

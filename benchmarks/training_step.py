"""What does quantization add to a training step?

Times one optimizer step (forward of student and teacher, loss, backward, clipping, AdamW) of plain fine-tuning, of
distillation without quantizers, and of distillation with each recipe, on the same batches in one run. The variants take
turns, so that a drift of the machine's speed hits them all; the ratio is the median over the turns. With a second
number format every variant stands in both, beside the same baseline: distillation in the first one.

    python benchmarks/training_step.py --tokens 16 --tokens 64
    python benchmarks/training_step.py --compute fp32 --compute bf16 --tokens 12 --tokens 28 --tokens 52
    python benchmarks/training_step.py --compile --json step.json      # on a GPU
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from common import WANTED, adamw, all_terms, describe, in_turns, multiples, write
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from xtcq.distillation import reduce_layers
from xtcq.encoder import load_encoder
from xtcq.quantization import QuantConfig, quantize, use_score_attention
from xtcq.training import MAX_GRAD_NORM

BASELINE = "KD"
VARIANTS = {
    "fine-tuning": None,
    BASELINE: None,
    "KD + xtc 1-1-8": QuantConfig("1-1-8", "xtc"),
    "KD + xtc 2-2-8": QuantConfig("2-2-8", "xtc"),
    "KD + ternarybert 2-2-8": QuantConfig("2-2-8", "ternarybert"),
    "KD + adaqat 2-4-4": QuantConfig("2-4-4", "adaqat"),
}


def make_step(
    name: str, encoder: PreTrainedModel, batch: dict[str, torch.Tensor], compiled: bool, compute: str
) -> Callable[[], None]:
    """Build one variant's student and return a function that takes one optimizer step on the batch.

    Only the student computes in another format than float32, as in training.
    """
    device = batch["input_ids"].device
    layers = range(encoder.config.num_hidden_layers)
    student = reduce_layers(encoder, layers)
    teacher = use_score_attention(reduce_layers(encoder, layers)).eval().requires_grad_(False).to(device)
    if VARIANTS[name] is not None:
        quantize(student, VARIANTS[name])
    if name != "fine-tuning":
        use_score_attention(student)
    student.train().to(device)
    loss, optimizer = all_terms(len(layers)), adamw(student.parameters())
    labels = torch.zeros(len(batch["input_ids"]), dtype=torch.long, device=device)

    def run_student(**arguments) -> ModelOutput:
        with torch.autocast(device.type, torch.bfloat16, enabled=compute == "bf16"):
            return student(**batch, **arguments)

    def forward() -> torch.Tensor:
        if name == "fine-tuning":
            return run_student(labels=labels).loss
        with torch.no_grad():
            target = teacher(**batch, **WANTED)
        return loss(run_student(**WANTED), target, batch["attention_mask"])[0]

    if compiled:
        forward()  # transformers hooks the layers on the first call, which cannot be traced
        # In one graph or not at all: what silently falls back to eager would be timed as compiled.
        forward = torch.compile(forward, fullgraph=True)

    def step() -> None:
        forward().backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(
    model: str,
    tokens: int,
    batch_size: int,
    rounds: int,
    compiled: bool,
    formats: Sequence[str],
    device: torch.device,
) -> pd.DataFrame:
    """Seconds of every variant in every round, one row a round; the columns of a second format name it."""
    # The variants share their code, and the compiler keeps few versions of one function.
    torch.compiler.reset()
    encoder, _ = load_encoder(model, 2)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, encoder.config.vocab_size, (batch_size, tokens), generator=generator)
    batch = {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}
    steps = {
        name if compute == formats[0] else f"{name}, {compute}": make_step(name, encoder, batch, compiled, compute)
        for compute in formats
        for name in VARIANTS
    }
    return in_turns(steps, rounds)


def main(
    tokens: Annotated[list[int], typer.Option(help="tokens of every sentence; may be given several times")] = [16, 64],  # noqa: B006
    batch_size: int = 32,
    rounds: Annotated[int, typer.Option(min=1)] = 15,
    compile: Annotated[bool, typer.Option("--compile", help="with torch.compile")] = False,
    compute: Annotated[list[str], typer.Option(help="fp32 or bf16; may be given several times")] = ["fp32"],  # noqa: B006
    model: Annotated[str, typer.Option(help="an encoder, by name or folder; its weights change no time")] = "minilm-l6",
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print milliseconds and the ratio to distillation without quantizers."""
    if not set(compute) <= {"fp32", "bf16"}:
        raise typer.BadParameter(f"{', '.join(compute)}: --compute is fp32 or bf16")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = {
        **describe(device),
        "compiled": compile,
        "compute": ", ".join(compute),
        "batch_size": batch_size,
        "rounds": rounds,
        "tokens": {},
    }
    for length in tokens:
        table = multiples(measure(model, length, batch_size, rounds, compile, compute, device), BASELINE)
        typer.echo(f"\n{length} tokens x {batch_size}, {result['device']}, {result['threads']} threads")
        typer.echo(table.round(3).to_string())
        result["tokens"][length] = table.to_dict("index")
    write(result, output)


if __name__ == "__main__":
    typer.run(main)

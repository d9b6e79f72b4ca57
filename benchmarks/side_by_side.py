"""How many training steps a second does one device do for many processes, launched kernel by kernel and as graphs?

Every process trains its own student (MiniLM's size, random weights, three terms of distillation, 1 bit) on batches of
four lengths; all of them start a measurement together.

    python benchmarks/side_by_side.py --processes 1 --processes 12
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from common import WANTED, adamw, all_terms, describe, write
from transformers import BertConfig, BertForSequenceClassification

from xtcq.quantization import QuantConfig, quantize, use_score_attention
from xtcq.training.graphs import StepGraphs

SIZES = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
TOKENS, BATCH = (12, 20, 28, 52), 32
WAIT = 300  # seconds for one that will not come


def worker(device: str, compute: str, seconds: float, barrier, counts) -> None:
    """Count optimizer steps, launch by launch and, on a GPU, replayed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = BertConfig(**SIZES, num_labels=2)
    teacher = use_score_attention(BertForSequenceClassification(config)).eval().to(device)
    student = BertForSequenceClassification(config)
    use_score_attention(quantize(student, QuantConfig("1-1-8"))).train().to(device)
    loss, optimizer = all_terms(config.num_hidden_layers), adamw(student.parameters())
    batches = [
        {
            "input_ids": torch.randint(1000, 30000, (BATCH, tokens), device=device),
            "attention_mask": torch.ones(BATCH, tokens, dtype=torch.long, device=device),
        }
        for tokens in TOKENS
    ]

    def passes(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            target = teacher(**batch, **WANTED)
        with torch.autocast(device, torch.bfloat16, enabled=compute == "bf16"):
            output = student(**batch, **WANTED)
        total, _ = loss(output, target, batch["attention_mask"])
        total.backward()
        return {"loss": total.detach()}

    ways = {"launched": passes}
    if device == "cuda":
        ways["replayed"] = StepGraphs(passes, student.parameters())
    found = {}
    for name, way in ways.items():

        def step(number: int, way=way) -> None:
            way(batches[number % len(batches)])
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        for number in range(4 * len(batches)):
            step(number)
        barrier.wait(WAIT)
        start, number = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            step(number)
            number += 1
            if device == "cuda":
                torch.cuda.current_stream().synchronize()
        found[name] = number / (time.perf_counter() - start)
        barrier.wait(WAIT)
    counts.put(found)


def main(
    processes: Annotated[list[int], typer.Option(help="side by side; may be given several times")] = [1, 2],  # noqa: B006
    seconds: float = 5.0,
    compute: Annotated[str, typer.Option(help="fp32 or bf16")] = "fp32",
    note: Annotated[str, typer.Option(help="kept with the figures")] = "",
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print optimizer steps a second, of all processes together."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    context = multiprocessing.get_context("spawn")
    rows = {}
    for number in processes:
        barrier, counts = context.Barrier(number), context.Queue()
        arguments = device, compute, seconds, barrier, counts
        started = [context.Process(target=worker, args=arguments) for _ in range(number)]
        for process in started:
            process.start()
        rows[number] = pd.DataFrame([counts.get(timeout=WAIT) for _ in started]).sum().round(1).to_dict()
        for process in started:
            process.join()
    print(pd.DataFrame(rows).T.to_string())
    write(describe(torch.device(device)) | {"compute": compute, "note": note, "steps_per_second": rows}, output)


if __name__ == "__main__":
    typer.run(main)

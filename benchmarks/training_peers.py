"""How fast is distillation with 1-bit weights, against the peers' own layers?

Times one optimizer step (forward of student and teacher, distillation loss, backward, clipping, AdamW) of MiniLM-L6 at
1-1-8 in xtcq, and as near to it as each peer comes, on the same weights and the same batches. Sentences have the
lengths of CoLA's training set in word pieces, and batches are made of sentences of like length, as in training here.
All ways pad a batch to its longest sentence; DeepSpeed is timed once more as its public script ships it, padded to 128.

Every way is a process of its own, the peers' in an environment of their own (`benchmarks/peers_env.sh`). The processes
take turns on every batch, one at a time, so that a drift of the machine's speed hits them all; a ratio is the median
over the turns. At the end each leaves the file that a user would deploy.

torchao and brevitas train with xtcq's loss, attention and loop, and differ in their layers alone; DeepSpeed trains with
its engine and the loss of its script. All use PyTorch's fused AdamW.

    bash benchmarks/peers_env.sh _build/peers
    python benchmarks/training_peers.py --peers _build/peers/bin/python --json peers.json
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from common import multiples, processor, write
from transformers.trainer_pt_utils import LengthGroupedSampler

from xtcq.encoder import load_encoder

OURS, SHIPPED = "xtcq", "deepspeed, padded to 128"
PEERS = ("deepspeed", "torchao", "brevitas")
# Wanted of the steps of each, in multiples of ours.
TARGETS = {"best peer, equal padding": 1.2, SHIPPED: 2.5}
MIB = 2**20
# Word pieces, special ones included, of the 8,551 training sentences of CoLA in MiniLM's vocabulary: how many have
# how many.
LENGTHS = {
    4: 7, 5: 129, 6: 310, 7: 649, 8: 979, 9: 1154, 10: 1129, 11: 916, 12: 797, 13: 574, 14: 452, 15: 334, 16: 235,
    17: 182, 18: 145, 19: 125, 20: 96, 21: 66, 22: 67, 23: 66, 24: 41, 25: 26, 26: 21, 27: 17, 28: 6, 29: 8, 30: 6,
    31: 1, 32: 8, 33: 1, 35: 1, 37: 1, 40: 1, 47: 1,
}  # fmt: skip


class Worker:
    """A process that trains in one way; see `training_worker.py`."""

    def __init__(self, way: str, python: Path | str, folder: Path, threads: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        single = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [str(python), str(Path(__file__).with_name("training_worker.py")), way, str(folder), str(threads)]
        self.log = folder / f"{way}.log"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True, bufsize=1,
            env={**os.environ, **single, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        self.ready = self._answer()

    def ask(self, **command: object) -> dict:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError(f"{' '.join(self.process.args[:3])} ended:\n{self.log.read_text()[-3000:]}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def make_inputs(folder: Path, steps: int, batch_size: int) -> list[int]:
    """Write the model and the batches, and return the longest length of each batch."""
    torch.manual_seed(0)
    model, _ = load_encoder("minilm-l6", 2)
    model.save_pretrained(folder / "model")
    generator = np.random.default_rng(0)
    lengths = generator.permutation(np.repeat(list(LENGTHS), list(LENGTHS.values())))
    sampler = LengthGroupedSampler(batch_size, lengths=lengths.tolist(), generator=torch.Generator().manual_seed(0))
    order = np.array(list(sampler))
    batches = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)
    widths = []
    for i, rows in enumerate(generator.permutation(batches)[:steps]):
        width = int(lengths[rows].max())
        ids = generator.integers(1000, model.config.vocab_size, (batch_size, width))
        mask = (np.arange(width) < lengths[rows][:, None]).astype(np.int64)
        np.savez(folder / f"batch-{i:03d}.npz", input_ids=ids * mask, attention_mask=mask)
        widths.append(width)
    return widths


def measure(workers: dict[str, Worker], runs: list[tuple[str, str, int]], steps: int, warmup: int) -> pd.DataFrame:
    """Seconds, one row a batch, one column a run: (name, worker, tokens to pad to or 0)."""
    rows = []
    for i in range(steps):
        # Whoever follows the slowest finds other things in the caches, so the order changes.
        turn = runs[i % len(runs) :] + runs[: i % len(runs)]
        rows.append({name: workers[worker].ask(step=i, pad=pad)["seconds"] for name, worker, pad in turn})
    return pd.DataFrame(rows)[[name for name, _, _ in runs]][warmup:]


def main(
    peers: Annotated[Path, typer.Option(help="Python of the peers' environment")],
    peer: Annotated[list[str], typer.Option(help="deepspeed, torchao or brevitas; may be given several times")] = PEERS,
    steps: Annotated[int, typer.Option(min=1, help="batches that are timed")] = 30,
    warmup: Annotated[int, typer.Option(help="batches before them")] = 3,
    batch_size: Annotated[int, typer.Option(help="32 is that of DeepSpeed's configuration")] = 32,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print examples per second, the time of a step in multiples of ours, and the size of the file left."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        widths = make_inputs(folder, warmup + steps, batch_size)[warmup:]
        workers = {OURS: Worker(OURS, sys.executable, folder, threads)}
        workers |= {one: Worker(one, peers, folder, threads) for one in peer}
        runs = [(one, one, 0) for one in workers]
        if "deepspeed" in peer:
            runs.append((SHIPPED, "deepspeed", 128))
        seconds = measure(workers, runs, warmup + steps, warmup)
        files = {one: worker.ask(save=str(folder / f"{one}.file"))["bytes"] for one, worker in workers.items()}
        for worker in workers.values():
            worker.close()
    table = multiples(seconds, OURS)
    table.insert(0, "examples/s", batch_size * len(seconds) / seconds.sum())
    table["file (MiB)"] = pd.Series({name: files[worker] / MIB for name, worker, _ in runs})
    typer.echo(table.round(2).to_string())
    result = {
        "device": processor(),
        "threads": threads,
        "load average before": load,
        "batch_size": batch_size,
        "steps": steps,
        "mean tokens": float(np.mean(widths)),
        "versions": {"torch": torch.__version__} | {
            package: version
            for worker in workers.values()
            for package, version in worker.ready["versions"].items()
            if package != "torch"
        },
        "what": {name: workers[worker].ready["what"] for name, worker, _ in runs},
        "levels": {name: worker.ready["levels"] for name, worker in workers.items()},
        "targets": TARGETS,
        "ways": table.to_dict("index"),
    }  # fmt: skip
    write(result, output)


if __name__ == "__main__":
    typer.run(main)

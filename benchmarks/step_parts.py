"""Where does the time of a training step go?

Trains with the project's Trainer on sentences of one length, and reads the parts off PyTorch's profiler: an operator
counts to the innermost part around it, and a node of the backward pass to the part of its forward operator. Students
are those of distillation without quantizers and with XTC's at 1 and 2 bits, and every batch is new to the teacher. The
profiler lengthens small operators, and whatever else runs lengthens all of them: the shares are what to read. On a
processor.

    OMP_NUM_THREADS=1 python benchmarks/step_parts.py --json benchmarks/results/step_parts-cpu.json
    OMP_NUM_THREADS=1 python benchmarks/step_parts.py --compute bf16 --json benchmarks/results/step_parts-cpu-bf16.json
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from common import adamw, all_terms, describe, write
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import (
    AttentionInterface,
    DataCollatorWithPadding,
    TrainerCallback,
    TrainingArguments,
)

from xtcq.distillation import reduce_layers
from xtcq.encoder import load_encoder
from xtcq.quantization import ATTENTION_NAME, QuantConfig, quantize, score_attention, use_score_attention
from xtcq.training import MAX_GRAD_NORM, DistillationTrainer
from xtcq.training.plan import keep_freed_memory

VARIANTS = {
    "KD": None,
    "KD + 1 bit": QuantConfig("1-1-8", "xtc"),
    "KD + 2 bits": QuantConfig("2-2-8", "xtc"),
}
FORWARD, BACKWARD, TABLE, OTHERS = "student", "backward", "AdamW: embedding table", "AdamW: other parameters"
# What the profiler, or a range below, calls an event that begins a part of the student.
PARTS = {
    "quantizing weights": "quantizing weights",
    "quantizing activations": "quantizing activations",
    "aten::linear": "matrix products",
    "attention": "attention",
    "aten::dropout": "dropout",
    "aten::embedding": "embedding look-up",
}
PHASES = ("collating", "teacher", FORWARD, "losses", BACKWARD, "clipping")
LENGTHS = [12, 28, 52]
WARM_UP = 2


class Recorder(TrainerCallback):
    """Profiles all steps after the first few."""

    def __init__(self) -> None:
        self.profile = profile(activities=[ProfilerActivity.CPU])

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == WARM_UP:
            self.profile.start()
        elif state.global_step == state.max_steps:
            self.profile.stop()


def ranged(name: str, function: Callable) -> Callable:
    """The function inside a range of the profiler."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return function(*args, **kwargs)

    return call


class Sentences(torch.utils.data.Dataset):
    """Sentences of random word pieces, all of one length."""

    def __init__(self, count: int, tokens: int, vocabulary: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(1000, vocabulary, (count, tokens), generator=generator).tolist()
        self.lengths = [tokens] * count

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = self.ids[index]
        return {"input_ids": ids, "token_type_ids": [0] * len(ids), "attention_mask": [1] * len(ids), "labels": 0}


def make_trainer(
    name: str, tokens: int, batch_size: int, steps: int, compute: str, recorder: Recorder
) -> DistillationTrainer:
    """A Trainer of one variant, its parts inside ranges of the profiler."""
    encoder, tokenizer = load_encoder("minilm-l6", 2)
    layers = range(encoder.config.num_hidden_layers)
    student, teacher = (use_score_attention(reduce_layers(encoder, layers)) for _ in range(2))
    if VARIANTS[name] is not None:
        quantize(student, VARIANTS[name])
    for module in student.modules():
        for role, part in (("weight_quantizer", "quantizing weights"), ("input_quantizer", "quantizing activations")):
            if (quantizer := getattr(module, role, None)) is not None:
                for method in ("forward", "look_up"):
                    setattr(quantizer, method, ranged(part, getattr(quantizer, method)))
    AttentionInterface.register(ATTENTION_NAME, ranged("attention", score_attention))
    student.forward, teacher.forward = ranged(FORWARD, student.forward), ranged("teacher", teacher.forward)
    loss = all_terms(len(layers))
    loss.forward = ranged("losses", loss.forward)
    table = student.get_input_embeddings().weight
    groups = [[table], [parameter for parameter in student.parameters() if parameter is not table]]
    optimizer = adamw([{"params": group} for group in groups])
    trainer = DistillationTrainer(
        distillation=loss,
        teacher=teacher,
        model=student,
        args=TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            max_grad_norm=MAX_GRAD_NORM,
            use_cpu=True,
            bf16=compute == "bf16",
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Sentences(steps * batch_size, tokens, encoder.config.vocab_size),
        processing_class=tokenizer,
        data_collator=ranged("collating", DataCollatorWithPadding(tokenizer)),
        callbacks=[recorder],
        optimizers=(optimizer, None),
    )
    trainer.accelerator.backward = ranged(BACKWARD, trainer.accelerator.backward)
    trainer.accelerator.clip_grad_norm_ = ranged("clipping", trainer.accelerator.clip_grad_norm_)
    return trainer


def placed(events: list[FunctionEvent]) -> Iterator[tuple[FunctionEvent, str, str]]:
    """Every event with its phase and its part."""
    for event in events:
        above, part = event, ""
        while above is not None and above.name not in PHASES:
            part = part or PARTS.get(above.name, "")
            above = above.cpu_parent
        yield event, above.name if above is not None else "", part or "the rest"


def parts(events: list[FunctionEvent]) -> Counter[str]:
    """Microseconds of every part."""
    found: Counter[str] = Counter()
    forward: dict[int, str] = {}
    updates = 0
    # In the order of their beginnings: of the events under one sequence number, the last makes the backward node.
    for event, phase, part in placed(sorted(events, key=lambda event: event.time_range.start)):
        if phase in (FORWARD, "losses"):
            forward[event.sequence_nr] = "losses" if phase == "losses" else part
        if phase == FORWARD:
            found[f"student: {part}"] += event.self_cpu_time_total
        elif phase == BACKWARD:
            above = event
            while above.name != BACKWARD and not above.name.startswith("autograd::engine::evaluate_function"):
                above = above.cpu_parent
            part = forward.get(above.sequence_nr, "the rest") if above.sequence_nr >= 0 else "the rest"
            found[f"backward: {part}"] += event.self_cpu_time_total
        elif phase:
            found[phase] += event.self_cpu_time_total
        elif event.name == "aten::_fused_adamw_":
            found[OTHERS if updates % 2 else TABLE] += event.cpu_time_total
            updates += 1
    return found


def measure(name: str, tokens: int, batch_size: int, steps: int, compute: str) -> pd.Series:
    """Milliseconds a step of every part."""
    recorder = Recorder()
    make_trainer(name, tokens, batch_size, WARM_UP + steps, compute, recorder).train()
    events = list(recorder.profile.events())
    whole = max(event.time_range.end for event in events) - min(event.time_range.start for event in events)
    found = parts(events)
    found["the Trainer and the rest"] = whole - sum(found.values())
    found["step"] = whole
    return pd.Series(found) / 1000 / steps


def main(
    tokens: Annotated[list[int], typer.Option(help="tokens of every sentence; may be given several times")] = LENGTHS,
    batch_size: int = 32,
    steps: Annotated[int, typer.Option(min=1)] = 8,
    compute: Annotated[str, typer.Option(help="number format of the student: fp32 or bf16")] = "fp32",
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print milliseconds and per cent of a step."""
    if compute not in ("fp32", "bf16"):
        raise typer.BadParameter(f"{compute}: --compute is fp32 or bf16")
    keep_freed_memory()  # as training does
    result = {**describe(torch.device("cpu")), "compute": compute}
    result |= {"batch_size": batch_size, "steps": steps, "tokens": {}}
    for length in tokens:
        ms = pd.DataFrame({name: measure(name, length, batch_size, steps, compute) for name in VARIANTS}).fillna(0.0)
        share = 100 * ms.div(ms.loc["step"])
        table = pd.concat([ms.add_suffix(", ms"), share.add_suffix(", %")], axis=1)
        table = table.loc[sorted(table.index, key=order)]
        typer.echo(f"\n{length} tokens x {batch_size}, {compute}, {result['device']}, {result['threads']} threads")
        typer.echo(table.round(1).to_string())
        result["tokens"][length] = table.round(3).to_dict("index")
    write(result, output)


def order(part: str) -> tuple[int, int]:
    """Where a part stands in the table: as in a step, and within a phase as above."""
    phases = (*PHASES, TABLE, OTHERS, "the Trainer and the rest", "step")
    phase, _, name = part.partition(": ")
    names = [*PARTS.values(), "losses", "the rest"]
    return phases.index(part if part in phases else phase), names.index(name) if name in names else 0


if __name__ == "__main__":
    typer.run(main)

"""Does the served student give the labels of the model that was trained?

Counts over whole development sets, for students whose weights are in the folder of runs: the same packed model in
PyTorch and in xtcq's integers. Where codes of activations differ between the two, it says how far from a boundary
between two levels their values lay. Of every task, also the labels of other ways to serve the first student's teacher
are counted, against the same weights in PyTorch. If llama-cpp-python is installed, students of single texts are also
asked there.

    python benchmarks/agreement.py 4b388425b16a744e 2600d103d9dab394 --json benchmarks/results/agreement-cpu.json
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from common import processor, write
from runtimes import BASELINE, PARTS, installed, runtimes_of, save_full
from xtcq_book.chapters import serving

from xtcq import freeze, load_packed, save_packed
from xtcq.deploy.gguf_file import export_gguf
from xtcq.deploy.runtime import Runtime
from xtcq.study import load_student
from xtcq.study.records import load_record, records_folder
from xtcq.tasks import encode, load_task


def in_llama(packed: Path, texts: pd.Series, labels: int) -> np.ndarray:
    """Logits of llama.cpp, which reads the student as a GGUF file and has tokens and products of its own."""
    import llama_cpp

    path = export_gguf(packed, packed.with_suffix(".gguf"))
    asked = {"pooling_type": llama_cpp.LLAMA_POOLING_TYPE_RANK, "n_threads": 1, "n_threads_batch": 1}
    model = llama_cpp.Llama(str(path), embedding=True, n_ctx=512, n_ubatch=512, verbose=False, **asked)
    return np.array([model.embed(text)[:labels] for text in texts])


def main(
    digests: Annotated[list[str], typer.Argument(help="of the students' Records")],
    output: Annotated[Path | None, typer.Option("--json", help="also write the figures here")] = None,
) -> None:
    """Print how many labels differ, and where the first difference of every text lies."""
    result = {"device": processor(), **installed(), "Records": " and ".join(digests), "students": {}, "labels": {}}
    for digest in digests:
        experiment = load_record(records_folder() / f"{digest}.json").experiment
        model, tokenizer = load_student(experiment)
        task = load_task(experiment.task)
        (texts, *_) = task.evaluation.values()
        examples = encode(texts, task.spec, tokenizer)
        batches = serving.make_batches(examples, tokenizer, 32)
        with tempfile.TemporaryDirectory() as name:
            packed = save_packed(freeze(model), Path(name) / "packed", tokenizer=tokenizer)
            student = load_packed(packed)
            here = serving.answer(serving.pytorch(student), examples, tokenizer)
            served = serving.answer(Runtime(packed, threads=1).logits, examples, tokenizer)
            codes = serving.code_differences(student, batches)
            same = codes["codes"] == 0
            told = f"{experiment.task} {experiment.precision}, seed {experiment.seed}"
            result["students"][told] = serving.agreement(served, here) | {
                "same codes": int(same.sum()),
                "maximum with same codes": float(codes["logits"][same].max()),
                "levels apart": int(codes["levels"].max()),
                "levels from a boundary": float(codes["from boundary"].max()),
            }
            if importlib.util.find_spec("llama_cpp") and len(task.spec.columns) == 1:
                result["versions"]["llama-cpp-python"] = importlib.import_module("llama_cpp").__version__
                found = in_llama(packed, texts[task.spec.columns[0]], task.spec.num_labels)
                result["students"][f"{told}, in llama.cpp"] = serving.agreement(found, here)
            if experiment.task not in result["labels"]:
                teacher, _ = load_student(experiment.teacher)
                save_full(teacher, tokenizer, Path(name) / "full")
                ways = runtimes_of(Path(name) / "full", {}, 1, compiled=False)
                found = {
                    way: serving.answer(run, examples, tokenizer) for way, (run, _) in ways.items() if PARTS not in way
                }
                result["labels"][experiment.task] = {
                    way: serving.agreement(logits, found[BASELINE]) for way, logits in found.items()
                }
        write(result, output)
    for title in ("students", *result["labels"]):
        typer.echo(f"\n{title}\n{pd.DataFrame(result.get(title) or result['labels'][title]).T.to_string()}")


if __name__ == "__main__":
    typer.run(main)

"""The runtime against the fake-quantized model on a real development set.

Logits cannot agree to 1e-3 everywhere. Two computations of the same float sum differ in their last bits; where the sum
lies on the boundary between two of the 255 levels of the next activation, it is rounded to one side here and to the
other there, and a level is far more than a last bit. The frozen model in float32 is as far from itself in float64, so
that distance is the yardstick: the runtime may be no farther from the model than the model from its exact self. What
does not depend on roundings stays absolute: half of all logits are within 5e-3, and a label may differ only where the
two labels are a tie for all that the logits can tell.
"""

import os
from pathlib import Path

import pytest
import torch
from xtcq_book.chapters import serving

from xtcq import QuantConfig, freeze, load_packed, quantize, save_packed
from xtcq.deploy.runtime import Runtime
from xtcq.distillation import PLANS, reduce_layers
from xtcq.encoder import load_encoder
from xtcq.tasks import Task, encode, load_task
from xtcq.training import TrainSettings, train

TRAINED_ON, BATCH = 640, 32


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> tuple[Path, Task, object]:
    """A 1-bit student of SST-2, trained for a minute's fraction: enough that its logits say something."""
    if not os.environ.get("XTCQ_DATA"):
        pytest.skip("needs the GLUE data in the folder that XTCQ_DATA names")
    folder = tmp_path_factory.mktemp("student")
    task = load_task("sst2")
    torch.manual_seed(0)
    model, tokenizer = load_encoder("minilm-l6", 2)
    model = reduce_layers(model, (0, 1))
    quantize(model, QuantConfig("1-1-8"))
    few = Task(task.spec, task.train.head(TRAINED_ON), {"validation": task.evaluation["validation"].head(100)})
    train(
        model, PLANS["finetune"](1.0), few, tokenizer, folder / "run",
        TrainSettings(learning_rate=5e-4, batch_size=BATCH, seed=0, evaluations=1),
    )  # fmt: skip
    return save_packed(freeze(model.cpu().eval()), folder / "packed", tokenizer=tokenizer), task, tokenizer


def test_predictions_on_a_whole_development_set(student):
    folder, task, tokenizer = student
    texts = task.evaluation["validation"]
    examples = encode(texts, task.spec, tokenizer)
    runtime = Runtime(folder, threads=1)
    found = runtime.predict(texts["sentence"].tolist()).logits
    trained = serving.answer(serving.pytorch(load_packed(folder)), examples, tokenizer)
    exact = serving.answer(serving.pytorch(serving.load_float64(folder)), examples, tokenizer)

    ours, yardstick = serving.agreement(found, trained), serving.agreement(trained, exact)
    assert ours["rows"] == 872
    assert ours["median"] <= 5e-3 and ours["median"] <= 2 * yardstick["median"]
    assert ours["99th percentile"] <= 2 * yardstick["99th percentile"]
    assert ours["other label"] <= 0.005 * 872 and ours["widest margin"] <= 4 * ours["99th percentile"]

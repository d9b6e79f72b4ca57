import dataclasses
import gc
import os
import shutil
import socket
import subprocess
import sys

# Tiny models gain nothing from threads that wait for one another, and lose much where the cores have other work.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification, PreTrainedTokenizerFast

from xtcq.quantization import QuantConfig, QuantLinear, freeze, quantize
from xtcq.study import Experiment, Record, experiment, queue, run, runs, speed, students
from xtcq.study.archive import export_records
from xtcq.tasks import QuestionSpec, Task, TaskSpec, task_spec
from xtcq.training.settings import METHOD


def pytest_collection_finish():
    """Every training collects garbage, which takes a second where all that was imported is looked through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Graphs of tests are kept among the tests' files."""
    os.environ["XTCQ_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def threads():
    """What a test leaves to torch, all after it have: trainings of two threads take ten times as long on busy cores."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


@pytest.fixture
def tiny_bert():
    """A factory of small random BERTs with a head, the same weights at every call with the same arguments."""

    def build(layers: int = 2, heads: int = 2, num_labels: int = 2, head: str = "classifier"):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=101,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=128,
            max_position_embeddings=64,
            num_labels=num_labels,
        )
        return (BertForQuestionAnswering if head == "questions" else BertForSequenceClassification)(config)

    return build


@pytest.fixture
def every_task_is(monkeypatch):
    """Make every task of the study another one: its facts, and its data."""

    def replace(task: Task) -> None:
        monkeypatch.setattr(experiment, "task_spec", lambda name: task.spec)
        for module in (queue, runs, speed):
            monkeypatch.setattr(module, "load_task", lambda name: task)

    return replace


@pytest.fixture
def killed_prefix():
    """How the temporary names of a process begin that has ended: a function of the final name."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return lambda name: f".{name}.{socket.gethostname()}-{ended.pid}."


@pytest.fixture
def padded_batch():
    """Three sentences of 9, 5 and 2 real tokens, padded to 9."""
    torch.manual_seed(1)
    mask = torch.zeros(3, 9, dtype=torch.long)
    for row, length in enumerate((9, 5, 2)):
        mask[row, :length] = 1
    return {"input_ids": torch.randint(1, 101, (3, 9)) * mask, "attention_mask": mask}


@pytest.fixture
def frozen_bert(padded_batch):
    """A factory of tiny frozen models whose steps, biases and low-rank terms are not at their first values."""

    def build(
        precision="1-1-8", recipe="xtc", lora_rank=0, kind="BertForSequenceClassification", bits=None, **sizes
    ) -> torch.nn.Module:
        torch.manual_seed(0)
        shape = {"vocab_size": 101, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 2}
        shape |= {"intermediate_size": 70, "max_position_embeddings": 64, "num_labels": 3}
        model = getattr(transformers, kind)(BertConfig(**shape | sizes)).eval()
        quantize(model, QuantConfig(precision, recipe, lora_rank))
        for name, module in model.named_modules():
            if isinstance(module, QuantLinear) and bits and module.weight_quantizer is not None:
                module.weight_quantizer.bits = bits[len(name) % len(bits)]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
            model(**padded_batch)
        return freeze(model)

    return build


@pytest.fixture
def outputs(padded_batch):
    """All outputs of a model for the padded batch, hidden states and scores included."""

    @torch.no_grad()
    def run(model):
        # The first batch must not decide a step: whatever the model needs is in it already.
        found = model(**padded_batch, output_hidden_states=True, output_attentions=True)
        flat = []
        for value in found.to_tuple():
            flat += value if isinstance(value, tuple) else [value]
        return flat

    return run


@pytest.fixture
def word_tokenizer():
    """A tokenizer that knows a hundred words, w0 to w96, and makes BERT's inputs. Loading a student changes it."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(97))])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture(scope="session")
def word_task():
    """A learnable task: does the sentence contain w1? 96 sentences of 3 to 8 words to train on, 48 to evaluate."""
    rng = np.random.default_rng(0)

    def frame(rows: int) -> pd.DataFrame:
        words = [rng.integers(2, 97, rng.integers(3, 9)) for _ in range(rows)]
        labels = rng.integers(0, 2, rows)
        for sentence, label in zip(words, labels, strict=True):
            sentence[rng.integers(len(sentence))] = 1 if label else 2
        return pd.DataFrame({"sentence": [" ".join(f"w{w}" for w in s) for s in words], "label": labels})

    spec = TaskSpec(
        name="words",
        title="Words",
        columns=("sentence",),
        num_labels=2,
        max_length=16,
        batch_size=8,
        metrics=("accuracy", "f1"),
        rows={"train": 96, "validation": 48},
        synthetic=True,
    )
    return Task(spec=spec, train=frame(96), evaluation={"validation": frame(48)})


@pytest.fixture(scope="session")
def question_task():
    """Learnable questions: the answer is the one or two words of w1 to w9 among others; some contexts have none."""
    rng = np.random.default_rng(0)

    def ask(number: int) -> tuple[str, str, str, str, dict[str, list]]:
        words = [f"w{w}" for w in rng.integers(20, 90, rng.integers(5, 18))]
        found = {"text": [], "answer_start": []}
        if number % 4:
            at, answer = int(rng.integers(len(words))), [f"w{w}" for w in rng.integers(1, 10, rng.integers(1, 3))]
            found = {"text": [" ".join(answer)], "answer_start": [len(" ".join([*words[:at], ""]))]}
            words[at:at] = answer
        return f"q{number}", "title", " ".join(words), "w95", found

    def frame(rows: int) -> pd.DataFrame:
        return pd.DataFrame(map(ask, range(rows)), columns=["id", "title", "context", "question", "answers"])

    spec = QuestionSpec(
        name="words",
        title="Words",
        columns=("question", "context"),
        num_labels=2,
        max_length=16,
        batch_size=8,
        metrics=("f1", "exact_match"),
        rows={"train": 96, "validation": 24},
        synthetic=True,
        stride=4,
        unanswerable=True,
    )
    return Task(spec=spec, train=frame(96), evaluation={"validation": frame(24)})


@pytest.fixture
def make_record():
    """A factory of Records with given scores; nothing is trained."""

    def build(score: float = 80.0, **fields) -> Record:
        own = ("predictions", "compute", "data", "method", "exploration")
        kept = {name: fields.pop(name) for name in own if name in fields}
        experiment = Experiment(**{"task": "mrpc", "epochs": 3, "learning_rate": 1e-4} | fields)
        spec = task_spec(experiment.task)
        metrics = dict.fromkeys(spec.metrics, score)
        place = {"stage": int(experiment.adaqat is not None), "stage_name": "s", "step": 10, "epoch": 1.0}
        point = place | {"train_seconds": 5.0, "wall_seconds": 6.0, "metrics": metrics}
        answer = [""] if spec.head == "questions" else [0.0] if spec.is_regression else "0"
        made = {split: answer * spec.rows[split] for split in spec.evaluation_splits}
        measured = {"predictions": {"best": made, "last": made}, "compute": "fp32", "data": "0" * 16, "method": METHOD}
        return Record(
            experiment=experiment,
            settings=experiment.settings,
            best=metrics,
            last=metrics,
            history=[point],
            size={"parameters": 10, "nominal_mib": 1.0, "packed_mib": 1.0, "embedding_mb": 1.0},
            bitops=0,
            train_seconds=5.0,
            wall_seconds=6.0,
            device="CPU",
            side_by_side=1,
            versions={"python": "3.11"},
            commit=None,
            **measured | kept,
        )

    return build


@pytest.fixture
def make_run(make_record, monkeypatch):
    """A factory of Records whose last evaluation may be another than the best; no labels are at hand."""
    monkeypatch.delenv("XTCQ_DATA", raising=False)

    def build(best: float = 80.0, last: float | None = None, **fields) -> Record:
        record = make_record(best, **fields)
        end = record.best if last is None else dict.fromkeys(record.best, last)
        history = [*record.history, record.history[0] | {"step": 20, "metrics": end}]
        return dataclasses.replace(record, last=end, history=history)

    return build


@pytest.fixture
def make_study(make_run):
    """A factory of whole studies: students of two plans, their teachers and seeds.

    Call it with the gains of one plan over the other, ``{task: [gain of seed 1, gain of seed 2, ...]}``. A field may be
    a function of the task.
    """

    def build(
        gains, last=None, level=75.0, teacher=85.0, model="minilm-l6", plans=("one-stage", "two-stage"), **fields
    ):
        records = []
        for task, of_seeds in gains.items():
            taught = make_run(teacher, task=task, model=model)
            records.append(taught)
            for seed, gain in enumerate(of_seeds, 1):
                end = gain if last is None else last[task][seed - 1]
                students = {"task": task, "model": model, "seed": seed, "teacher": taught.experiment}
                own = {name: value(task) if callable(value) else value for name, value in fields.items()}
                students |= {"precision": "1-1-8"} | own
                records.append(make_run(level + gain, level + end, stages=plans[0], **students))
                records.append(make_run(level, level, stages=plans[1], **students))
        return records

    return build


@pytest.fixture
def make_record_file(make_record):
    """Write an archive with the Record of one experiment."""

    def write(path) -> None:
        export_records([make_record(epochs=1)], path)

    return write


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Records and runs of the test go to its own folders."""
    monkeypatch.setenv("XTCQ_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("XTCQ_RUNS", str(tmp_path / "runs"))
    return tmp_path


@pytest.fixture
def small_world(folders, monkeypatch, every_task_is, tiny_bert, word_task, word_tokenizer):
    """Every model is a tiny BERT and every task the word task: real training in a second."""

    def load_encoder(name, num_labels, head="classifier", pretrained=True):
        return tiny_bert(layers=2, num_labels=num_labels), word_tokenizer

    for module in (queue, runs, students):
        monkeypatch.setattr(module, "load_encoder", load_encoder)
    every_task_is(word_task)
    return folders


@pytest.fixture
def taught(small_world, request, tmp_path_factory):
    """The small world after the module's `TEACHER` was trained, which is done once for all tests."""
    teacher = request.module.TEACHER
    kept = tmp_path_factory.getbasetemp() / teacher.digest
    if kept.exists():
        shutil.copytree(kept, small_world, dirs_exist_ok=True)
    else:
        run(teacher)
        shutil.copytree(small_world, kept)
    return small_world


@pytest.fixture
def trainings(monkeypatch):
    """The experiments' folders that were really trained, in order."""
    seen, original = [], runs.train

    def counted(student, stages, task, tokenizer, folder, *settings, **options):
        seen.append(folder.name)
        return original(student, stages, task, tokenizer, folder, *settings, **options)

    monkeypatch.setattr(runs, "train", counted)
    return seen

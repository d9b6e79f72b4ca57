import copy
import errno
import inspect
import json
import math
import platform
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from xtcq.distillation import DistillationLoss, LayerMap, finetune, one_stage, two_stage
from xtcq.outputs import CLASSES
from xtcq.quantization import QuantConfig, freeze, quantize, use_score_attention
from xtcq.tasks import encoding
from xtcq.training import DistillationTrainer, Paused, stage_folder
from xtcq.training import plan as training


@pytest.fixture
def teacher(tiny_bert):
    return use_score_attention(tiny_bert(layers=4))


def student_of(model):
    return use_score_attention(quantize(model, QuantConfig(precision="2-2-8")))


def test_fine_tuning_learns_and_ends_with_its_best_weights(fit, word_task, word_tokenizer):
    student, result = fit(finetune(8), evaluations=8, learning_rate=3e-3)
    accuracies = [entry["metrics"]["accuracy"] for entry in result.history if "metrics" in entry]
    assert len(accuracies) == 8
    assert result.best["accuracy"] == max(accuracies) > 75
    assert result.last["accuracy"] == accuracies[-1]
    student.eval()
    frame = word_task.evaluation["validation"]
    batch = word_tokenizer(frame["sentence"].tolist(), padding=True, return_tensors="pt")
    with torch.no_grad():
        predicted = student(**batch).logits.argmax(-1).numpy()
    assert math.isclose(100 * (predicted == frame["label"]).mean(), result.best["accuracy"])
    assert student.config.num_texts == 1


def test_best_is_chosen_over_all_stages(fit, teacher, tiny_bert, monkeypatch, tmp_path):
    scores = iter([10.0, 70.0, 20.0, 70.0])
    monkeypatch.setattr(encoding, "compute_metrics", lambda *args: {"accuracy": next(scores), "f1": 0.0})
    student, result = fit(two_stage(2), student=student_of(tiny_bert()), teacher=teacher)
    assert result.best["accuracy"] == 70.0 and result.last["accuracy"] == 70.0
    kept = load_file(tmp_path / "run" / "stage-0" / "best.safetensors")  # the first of equals
    for name, value in kept.items():
        torch.testing.assert_close(student.state_dict()[name], value, rtol=0, atol=0)
    predictions = [json.loads((tmp_path / "run" / f"stage-{stage}/predictions/12/validation.json").read_text())
                   for stage in (0, 1)]  # fmt: skip
    assert [result.predictions["best"]["validation"], result.predictions["last"]["validation"]] == predictions


def test_an_epoch_counts_as_many_steps_as_asked_for(fit):
    _, result = fit(finetune(2), epoch_steps=5)
    assert result.history[-1]["step"] == 10


def test_bfloat16_learns_too(fit):
    student, result = fit(finetune(8), evaluations=8, learning_rate=3e-3, compute="bf16")
    assert result.best["accuracy"] > 75
    assert {value.dtype for value in student.state_dict().values()} <= {torch.float32, torch.int64}


def test_history_runs_through_the_stages(fit, teacher, tiny_bert):
    _, result = fit(two_stage(2), student=student_of(tiny_bert()), teacher=teacher, evaluations=5)
    evaluated = [entry for entry in result.history if "metrics" in entry]
    assert [entry["step"] for entry in evaluated] == [5, 10, 14, 19, 24]
    assert [entry["stage"] for entry in evaluated] == [0, 0, 1, 1, 1]
    assert [entry["epoch"] for entry in evaluated] == pytest.approx([step / 12 for step in (5, 10, 14, 19, 24)])
    seconds = [entry["train_seconds"] for entry in result.history]
    assert seconds == sorted(seconds) and seconds[0] > 0
    losses = [entry for entry in result.history if "loss" in entry]
    for entry in losses:
        parts = [value for name, value in entry.items() if name.startswith("loss_")]
        assert len(parts) == (2 if entry["stage"] == 0 else 1)
        assert math.isclose(sum(parts), entry["loss"], rel_tol=1e-4)


def test_schedule_restarts_with_its_own_peak(fit, teacher, tiny_bert):
    _, result = fit(two_stage(4), student=student_of(tiny_bert()), teacher=teacher, learning_rate=1e-4)
    rates = {
        stage: [e["learning_rate"] for e in result.history if "loss" in e and e["stage"] == stage] for stage in (0, 1)
    }
    for stage, factor in ((0, 2.5), (1, 1.0)):
        assert 0.85 * factor * 1e-4 < max(rates[stage]) <= factor * 1e-4 * (1 + 1e-9)
        assert rates[stage][-1] < 0.1 * factor * 1e-4


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(fit, interrupted):
    whole, expected = fit(finetune(2), folder="whole")
    with interrupted(20):
        fit(finetune(2), folder="cut")
    resumed, result = fit(finetune(2), folder="cut")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert [e["metrics"] for e in result.history if "metrics" in e] == [
        e["metrics"] for e in expected.history if "metrics" in e
    ]
    # Neither clock forgets what came before the interruption.
    paused = [entry["wall_seconds"] - entry["train_seconds"] for entry in result.history]
    assert 0 <= paused[0] and all(before <= after + 1e-6 for before, after in pairwise(paused))
    assert result.wall_seconds == result.history[-1]["wall_seconds"] > result.train_seconds


def test_several_processes_are_refused(fit, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="trained on one device, and this is one of 2 processes"):
        fit(finetune(1))


def test_no_private_method_of_the_trainer_is_replaced():
    """Those may change with any release; what is overridden is documented."""
    ours = {name for name, value in vars(DistillationTrainer).items() if callable(value)}
    assert {name for name in ours if name.startswith("_") and hasattr(Trainer, name)} == {"__init__"}
    assert all(hasattr(Trainer, name) for name in ("get_train_dataloader", "training_step", "evaluation_loop", "log"))


def test_a_finished_stage_is_not_trained_again(fit, interrupted, teacher, tiny_bert, tmp_path):
    with interrupted(10):  # each stage has 12 steps: the first one is cut
        fit(two_stage(2), student=student_of(tiny_bert()), teacher=teacher)
    fit(two_stage(2), student=student_of(tiny_bert()), teacher=teacher)
    marks = [(tmp_path / "run" / f"stage-{i}" / "history.json").stat().st_mtime_ns for i in (0, 1)]
    _, result = fit(two_stage(2), student=student_of(tiny_bert()), teacher=teacher)
    assert marks == [(tmp_path / "run" / f"stage-{i}" / "history.json").stat().st_mtime_ns for i in (0, 1)]
    assert result.history[-1]["step"] == 24


@pytest.mark.parametrize("scores", [(50.0, 60.0, 70.0, 80.0), (80.0, 70.0, 60.0, 50.0)])
def test_a_run_cut_after_its_last_checkpoint_does_not_train_on(fit, interrupted, monkeypatch, tmp_path, scores):
    values = iter(scores * 2)
    monkeypatch.setattr(encoding, "compute_metrics", lambda *args: {"accuracy": next(values), "f1": 0.0})
    whole, expected = fit(finetune(2), folder="whole")
    with interrupted():
        fit(finetune(2), folder="cut")
    steps = {path.name for path in (tmp_path / "cut" / "stage-0").glob("checkpoint-*")}
    assert "checkpoint-24" in steps  # nothing is lost, be it the best one or not
    (tmp_path / "cut").rename(tmp_path / "moved")
    resumed, result = fit(finetune(2), folder="moved")
    assert next(values, None) is None  # nothing was evaluated again
    assert [e["step"] for e in result.history] == [e["step"] for e in expected.history]
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def halved(content):
    return content[: len(content) // 2]


def blanked(content):
    """Zeros where the archive holds numbers, its directory untouched."""
    at = content.index(b"PK\x03\x04", 1) // 2
    return content[:at] + bytes(16) + content[at + 16 :]


def flipped(content):
    """One bit in the middle."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGE = [
    *((name, flipped) for name in ("model.safetensors", "optimizer.pt", "trainer_state.json", "checksums.json")),
    *((name, halved) for name in ("model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json")),
    ("rng_state.pth", blanked),
    *(("trainer_state.json", lambda content, text=text: text) for text in (b"[]", b"{}", b"")),
]


def test_a_damaged_checkpoint_is_passed_over(fit, interrupted, tmp_path, caplog):
    with interrupted(20):
        fit(finetune(2))
    stage = tmp_path / "run" / "stage-0"
    newest = max(stage.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    (stage / "checkpoint-abc").mkdir()
    (stage / "checkpoint-99").write_text("")
    assert stage_folder.newest_intact_checkpoint(stage) == str(newest)
    for name, damage in DAMAGE:
        whole = (newest / name).read_bytes()
        (newest / name).write_bytes(damage(whole))
        caplog.clear()
        assert stage_folder.newest_intact_checkpoint(stage) != str(newest), (name, damage)
        assert "is damaged" in caplog.text and str(newest) in caplog.text
        (newest / name).write_bytes(whole)
    (newest / "optimizer.pt").write_bytes(halved((newest / "optimizer.pt").read_bytes()))
    _, result = fit(finetune(2))
    assert result.history[-1]["step"] == 24


def test_a_finished_stage_that_was_damaged_is_trained_again(fit, tmp_path, caplog):
    student, expected = fit(finetune(2))
    stage = tmp_path / "run" / "stage-0"
    for name in ("best.safetensors", "history.json", "checksums.json", "last.safetensors"):
        whole = (stage / name).read_bytes()
        (stage / name).write_bytes(flipped(whole))
        assert not stage_folder.is_finished(stage), name
        (stage / name).write_bytes(whole)
    assert stage_folder.is_finished(stage)
    (stage / "last.safetensors").write_bytes(flipped(whole))
    caplog.clear()
    again, result = fit(finetune(2))
    assert f"{stage} is damaged" in caplog.text and "the stage is trained again" in caplog.text
    assert (result.best, result.predictions) == (expected.best, expected.predictions)
    torch.testing.assert_close(again.state_dict(), student.state_dict(), rtol=0, atol=0)


def full_disk(*args, **kwargs):
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")


def test_a_disk_that_is_full_at_a_checkpoint(fit, monkeypatch, tmp_path):
    whole, _ = fit(finetune(2), folder="whole")
    save, saved = torch.save, []

    def fill(value, path, *args, **kwargs):
        saved.append(path)
        (full_disk if len(saved) > 6 else save)(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", fill)
    expected = f"No space left on device; the checkpoints in {tmp_path}/cut/stage-0 are kept. Free some"
    with pytest.raises(OSError, match=expected) as caught:
        fit(finetune(2), folder="cut")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    resumed, result = fit(finetune(2), folder="cut")
    assert result.history[-1]["step"] == 24
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_a_disk_that_is_full_at_the_end_of_a_stage(fit, monkeypatch, tmp_path):
    monkeypatch.setattr(stage_folder, "save_model", full_disk)
    with pytest.raises(OSError, match="No space left on device; the checkpoints in .*cut/stage-0 are kept. Free some"):
        fit(finetune(2), folder="cut")
    assert list((tmp_path / "cut" / "stage-0").glob("checkpoint-24"))


def test_a_loss_that_is_not_finite_stops_the_run(fit):
    with pytest.raises(FloatingPointError, match=r"loss is nan at step \d+ of 24 .*Lower the learning rate"):
        fit(finetune(2), learning_rate=1e30)


def test_stage_folder_holds_no_pickles_when_done(fit, tmp_path):
    fit(finetune(2))
    names = {path.name for path in (tmp_path / "run" / "stage-0").iterdir()}
    kept = {"last.safetensors", "best.safetensors", "history.json", "predictions", "fingerprint.json"}
    assert names == kept | {"checksums.json"}
    assert json.loads((tmp_path / "run" / "stage-0" / "history.json").read_text())


@pytest.fixture
def little_memory(monkeypatch):
    """From some step on, few examples go through a model at a time; returns the sizes that were tried."""
    original, tried = DistillationTrainer.compute_loss, []

    def install(most, after=0):
        def limited(self, model, inputs, *args, **kwargs):
            if model.training:
                tried.append(len(inputs["input_ids"]))
            if model.training and tried[-1] > most and len(tried) > after:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return original(self, model, inputs, *args, **kwargs)

        monkeypatch.setattr(DistillationTrainer, "compute_loss", limited)
        return tried

    return install


@pytest.mark.parametrize("after", [0, 5])
def test_a_batch_that_does_not_fit_goes_through_in_parts(fit, teacher, tiny_bert, little_memory, after):
    """Dropout apart, the steps are those of the whole batches, from the first one on, and stay so after a stop."""
    model = tiny_bert()
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    students = [copy.deepcopy(model) for _ in range(2)]
    _, whole = fit(finetune(2), student=students[0], folder="whole")
    tried = little_memory(2, after)
    asked = iter(range(9))
    with pytest.raises(Paused):
        fit(finetune(2), student=students[1], folder="parts", pause=lambda: next(asked) == 8)
    little_memory(8)  # there is room again
    _, parts = fit(finetune(2), student=students[1], folder="parts")
    assert whole.micro_batch is None and parts.micro_batch == 2
    assert [size for size in dict.fromkeys(tried) if size in (8, 4, 2)] == [8, 4, 2]
    assert [e["step"] for e in parts.history] == [e["step"] for e in whole.history]
    for ours, theirs in zip(parts.history, whole.history, strict=True):
        assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=1e-3)
    for ours, theirs in zip(students[1].parameters(), students[0].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_without_a_checkpoint_batches_are_whole_again(fit, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/parts").write_text("4")  # of a run that was stopped before its first checkpoint, say
    assert fit(finetune(1))[1].micro_batch is None and not (tmp_path / "run/parts").exists()


def test_parts_of_a_loss_are_means_over_the_parts_of_a_batch(fit, teacher, tiny_bert, little_memory):
    _, whole = fit(one_stage(1), student=student_of(tiny_bert()), teacher=teacher, folder="whole")
    little_memory(4)
    _, parts = fit(one_stage(1), student=student_of(tiny_bert()), teacher=teacher, folder="parts")
    first = [next(e for e in result.history if "loss" in e) for result in (whole, parts)]
    for name in ("loss", "loss_hidden", "loss_attention", "loss_logits"):
        assert first[1][name] == pytest.approx(first[0][name], rel=0.05)


def test_memory_for_nothing_at_all(fit, little_memory):
    little_memory(0)
    with pytest.raises(MemoryError, match="a batch of 1 examples does not fit into memory and cannot be cut in two"):
        fit(finetune(1))


def test_what_cannot_be_trained_is_refused_before_anything_is_encoded(fit, tiny_bert, monkeypatch):
    def too_late(*arguments):
        raise AssertionError("examples were encoded")

    monkeypatch.setattr(training, "encode", too_late)
    with pytest.raises(ValueError, match="is frozen: its weights are integers, which do not learn"):
        fit(finetune(1), student=freeze(student_of(tiny_bert())))
    with pytest.raises(ValueError, match="distils, and no teacher was given"):
        fit([*finetune(1), *one_stage(1)])
    smaller = tiny_bert()
    smaller.resize_token_embeddings(50)
    others = ((smaller, "vocab_size", 50, 101), (tiny_bert(heads=4), "num_attention_heads", 4, 2))
    for teacher, name, value, own in others:
        with pytest.raises(ValueError, match=f"teacher has {name}={value} and the student {name}={own}"):
            fit(one_stage(1), student=student_of(tiny_bert()), teacher=use_score_attention(teacher))


FAULTS = """
import ctypes, platform, resource

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (96 * 2**20)  # more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back in this way")
def test_freed_memory_is_used_again():
    # In a process of its own, since how memory is kept is a property of the process.
    script = inspect.getsource(training.keep_freed_memory) + FAULTS
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 40 > after


def test_a_loss_of_distillation_needs_a_teacher(tiny_bert):
    loss = DistillationLoss(("logits",), LayerMap((), ()), CLASSES)
    with pytest.raises(ValueError, match="teacher is None: pass the model to imitate"):
        DistillationTrainer(model=tiny_bert(), distillation=loss, teacher=None)

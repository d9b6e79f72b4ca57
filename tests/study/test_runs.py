import json
import logging
import shutil
import threading
import time
from dataclasses import replace

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save

from xtcq.adaqat import AdaQATSettings
from xtcq.quantization import bitops, get_widths
from xtcq.study import Experiment, load_record, load_student, record_path, run, runs, students, trained_student
from xtcq.study.records import save_record

TEACHER = Experiment(task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2)
STUDENT = Experiment(
    task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2, precision="1-1-8", stages="two-stage", teacher=TEACHER
)


def test_a_run_trains_its_teacher_and_is_stored(small_world, trainings, word_task, word_tokenizer, monkeypatch):
    monkeypatch.delenv("XTCQ_SIDE_BY_SIDE", raising=False)
    record = run(STUDENT)
    assert trainings == [TEACHER.digest, STUDENT.digest]
    assert record == load_record(record_path(STUDENT))
    assert record.best["accuracy"] == max(e["metrics"]["accuracy"] for e in record.history if "metrics" in e)
    assert record.bitops == 8 * 2 * 12 * 32 * 32  # 8 x 1 bits, 2 layers of 12 h^2 weights
    assert record.train_seconds <= record.wall_seconds and record.side_by_side == 1
    assert record.teacher_scores is None and '"teacher_scores"' not in record_path(STUDENT).read_text()
    # Predictions are those of the student.
    frame = word_task.evaluation["validation"]
    batch = word_tokenizer(frame["sentence"].tolist(), padding=True, return_tensors="pt")
    with torch.no_grad():
        predicted = load_student(STUDENT)[0](**batch).logits.argmax(-1)
    assert record.predictions["best"] == {"validation": "".join(map(str, predicted.tolist()))}
    right = sum(int(digit) == label for digit, label in zip(record.predictions["last"]["validation"], frame["label"]))
    assert record.last["accuracy"] == pytest.approx(100 * right / len(frame))
    # A run is trained once both its Record and its weights are there.
    assert students.is_trained(TEACHER)
    record_path(TEACHER).unlink()
    assert not students.is_trained(TEACHER)


def test_a_teacher_of_other_data_is_refused(taught, monkeypatch, word_task):
    other = replace(word_task, train=word_task.train.iloc[::-1])
    monkeypatch.setattr(runs, "load_task", lambda name: other)
    with pytest.raises(ValueError, match=f"teacher {TEACHER.digest} was trained on mrpc data of digest .*same files"):
        run(STUDENT)
    with pytest.raises(ValueError, match=f"start {TEACHER.digest} was trained on mrpc data of digest .*same files"):
        run(replace(TEACHER, start=TEACHER))


def test_a_run_goes_on_in_the_format_it_began_in(small_world, monkeypatch):
    folder = small_world / "runs" / TEACHER.digest
    folder.mkdir(parents=True)
    (folder / "compute").write_text("bf16")
    monkeypatch.setenv("XTCQ_COMPUTE", "fp32")
    assert run(TEACHER).compute == "bf16"


def test_two_who_ask_at_once_train_once(small_world, trainings):
    results = []
    threads = [threading.Thread(target=lambda: results.append(run(TEACHER))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trainings == [TEACHER.digest] and results[0] == results[1]


def test_who_waits_says_for_what(taught, trainings, caplog):
    first = run(TEACHER)
    record_path(TEACHER).unlink()
    lock = FileLock(taught / "runs" / f"{TEACHER.digest}.lock")
    waiting = threading.Thread(target=run, args=[TEACHER])
    with caplog.at_level(logging.INFO, "xtcq"):
        with lock:
            waiting.start()
            deadline = time.monotonic() + 20
            while "wait: " not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)
            save_record(first)
        waiting.join()
    assert f"wait: {TEACHER} ({TEACHER.digest}), another process trains it and holds {lock.lock_file}" in caplog.text
    assert trainings == []


@pytest.mark.parametrize("ask", [run, trained_student])
def test_checkpoints_that_a_killed_run_left_are_dropped(taught, trainings, ask):
    folder = taught / "runs" / TEACHER.digest
    (folder / "stage-0").mkdir()
    (folder / "stage-0" / "best.safetensors").write_bytes(b"large")
    ask(TEACHER)
    assert not (folder / "stage-0").exists() and trainings == []


def test_published_record_stays_when_only_the_weights_are_made_again(taught, trainings):
    record = run(TEACHER)
    before = record_path(TEACHER).read_bytes()
    (taught / "runs" / TEACHER.digest / "student.safetensors").unlink()
    stage = taught / "runs" / TEACHER.digest / "stage-0"
    stage.mkdir()  # checkpoints of weights that are made again stay
    assert run(TEACHER) == record and trainings == [] and stage.exists()
    shutil.rmtree(stage)
    with pytest.raises(FileNotFoundError, match=f"{TEACHER.digest}.*student.safetensors is missing: .*run --weights"):
        load_student(TEACHER)
    trained_student(TEACHER)
    assert trainings == [TEACHER.digest] and record_path(TEACHER).read_bytes() == before


def test_a_student_says_what_the_teacher_scores_that_it_learned_from(taught, monkeypatch, caplog):
    """A teacher that is trained again, on another machine say, is not the one of its Record."""
    published = record_path(TEACHER).read_bytes()
    (taught / "runs" / TEACHER.digest / "student.safetensors").unlink()
    original = runs.train
    scores = {"best": {"accuracy": 37.5, "f1": 12.5}, "last": {"accuracy": 25.0, "f1": 6.25}}

    def elsewhere(student, stages, task, tokenizer, folder, *settings, **options):
        result = original(student, stages, task, tokenizer, folder, *settings, **options)
        return replace(result, **scores) if folder.name == TEACHER.digest else result

    monkeypatch.setattr(runs, "train", elsewhere)
    with caplog.at_level(logging.INFO, "xtcq"):
        record = run(STUDENT)
    assert record.teacher_scores == scores and load_record(record_path(STUDENT)) == record
    assert record_path(TEACHER).read_bytes() == published
    assert f"train again: {TEACHER} ({TEACHER.digest}) has its Record, and its weights are not here" in caplog.text
    assert f"({TEACHER.digest}): the new weights score accuracy=37.5 f1=12.5, and its Record says" in caplog.text


def test_weights_that_learned_nothing_teach_nobody_whatever_the_record_says(taught, monkeypatch, word_task):
    """The Record's teacher may have been a good one."""
    scores = dict.fromkeys(("best", "last"), {"accuracy": 12.5, "f1": 0.0})
    (taught / "runs" / TEACHER.digest / "scores.json").write_text(json.dumps(scores))
    monkeypatch.setattr(runs, "has_learned", lambda spec, score: score > 40)
    monkeypatch.setattr("xtcq.study.experiment.task_spec", lambda name: replace(word_task.spec, synthetic=False))
    message = f"the teacher {TEACHER.digest} scores 12.5 on mrpc, .* no more than chance gives: train it longer or at"
    with pytest.raises(ValueError, match=message):
        run(STUDENT)


def test_scores_beside_the_weights_that_are_damaged(taught):
    for text in ("", "[]", "{}", '{"best": {"accuracy": "high"}}'):
        (taught / "runs" / TEACHER.digest / "scores.json").write_text(text)
        with pytest.raises(ValueError, match="scores.json does not say what the weights beside it score"):
            run(STUDENT)


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    """One bit of a weight, which is a weight as well."""
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


def test_weights_that_are_damaged_are_named(taught):
    file = taught / "runs" / TEACHER.digest / "student.safetensors"
    whole = file.read_bytes()
    for damaged in (cut(whole), flipped(whole), b"", save({"x": torch.zeros(1)})):
        file.write_bytes(damaged)
        for needs_it in (STUDENT, replace(TEACHER, start=TEACHER)):
            with pytest.raises(ValueError, match=f"{file} is damaged or another model's .*: delete it, and the next"):
                run(needs_it)
    file.unlink()
    assert run(STUDENT)


def test_a_place_for_records_that_is_none_is_refused_before_training(small_world, trainings, monkeypatch):
    (small_world / "occupied").write_text("")
    monkeypatch.setenv("XTCQ_RECORDS", str(small_world / "occupied"))
    with pytest.raises(OSError, match="occupied.*; nothing was trained. .* choose another place"):
        run(TEACHER)
    assert trainings == []


@pytest.fixture
def begins_with(monkeypatch):
    """The weights that the training of an experiment begins with; it is stopped there."""

    def begin(experiment):
        began = {}

        def spy(student, *args, **options):
            began.update({name: value.clone() for name, value in student.state_dict().items()})
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(runs, "train", spy)
            run(experiment)
        return began

    return begin


def test_student_starts_from_its_teacher(taught, begins_with):
    teacher, began = trained_student(TEACHER)[0].state_dict(), begins_with(STUDENT)
    torch.testing.assert_close({name: began[name] for name in teacher}, teacher, rtol=0, atol=0)


def test_student_starts_from_another_run(taught, begins_with):
    two_bit = replace(STUDENT, precision="2-2-8", lora_rank=1, layers=(1,))
    one_bit = replace(two_bit, precision="1-1-8", start=two_bit)
    run(two_bit)
    weights, began = load_student(two_bit)[0].state_dict(), begins_with(one_bit)
    torch.testing.assert_close(began, weights, rtol=0, atol=0)  # low-rank terms too
    assert any(name.endswith("lora_v") and value.abs().sum() > 0 for name, value in began.items())
    assert run(one_bit).bitops * 2 == run(two_bit).bitops


def test_a_student_of_another_encoder_starts_from_its_own_weights(small_world, begins_with):
    large = replace(TEACHER, model="bert-base-uncased")
    run(large)
    began = begins_with(replace(STUDENT, model="tinybert-l6", precision="32-32-32", teacher=large))
    pretrained = students.load_encoder("tinybert-l6", 2)[0].state_dict()
    name = "bert.encoder.layer.0.attention.self.query.weight"
    torch.testing.assert_close(began[name], pretrained[name], rtol=0, atol=0)


def test_a_run_that_learns_widths_is_stored_and_loaded_with_them(small_world):
    settings = AdaQATSettings(lambda_weights=0.4, lambda_activations=0.4, short=True)
    experiment = Experiment(
        task="mrpc", epochs=4, learning_rate=1e-3, evaluations=2, recipe="adaqat", precision="4-4-4", adaqat=settings
    )
    record = run(experiment)
    assert record == load_record(record_path(experiment))
    found = {name: tuple(pair) for name, pair in record.exploration["widths"].items()}
    student, _ = load_student(experiment)
    assert get_widths(student) == found and len(set(found.values())) > 1
    assert record.bitops == bitops(student) and record.exploration["ended"] == "budget"
    # So short a search runs at the greatest rate that a study allows, and says what it lacked.
    assert (record.exploration["eta"], record.exploration["reach"]) == (1.0, 0.5)
    assert not record.exploration["in_regime"] and record.exploration["departures"]
    assert [entry["stage_name"] for entry in record.history if "metrics" in entry] == ["explore", "fine-tune"]
    # A run that begins with these weights has its own widths.
    uniform = replace(experiment, adaqat=None, precision="3-4-5", start=experiment)
    run(uniform)
    assert set(get_widths(load_student(uniform)[0]).values()) == {(3, 5)}


def test_widths_that_are_given_are_trained_with_and_recorded(taught):
    widths = {"bert.encoder.layer.0.output.dense": (2, 7), "bert.pooler.dense": (3, 5)}
    experiment = replace(STUDENT, recipe="adaqat", precision="8-4-8", stages="one-stage", allocation=widths)
    record, plain = run(experiment), run(replace(experiment, allocation=None))
    student, _ = load_student(experiment)
    found = get_widths(student)
    assert {name: found[name] for name in widths} == widths
    assert {pair for name, pair in found.items() if name not in widths} == {(8, 8)}
    h = 32
    assert plain.bitops - record.bitops == (64 - 14) * 4 * h**2 + (64 - 15) * h**2
    assert record.exploration is None and [e["step"] for e in record.history] == [e["step"] for e in plain.history]
    assert load_record(record_path(experiment)) == record


def test_a_record_says_where_it_was_measured(monkeypatch):
    found = runs._provenance()
    assert set(found) == {"device", "versions", "commit"}
    assert found["versions"]["torch"] == torch.__version__ and len(found["commit"]) == 40
    with monkeypatch.context() as without_git:
        without_git.setenv("PATH", "")
        assert runs._provenance()["commit"] is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setenv("XTCQ_COMMIT", "a copy")

    def missing(name):
        raise runs.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(runs.metadata, "version", missing)
    found = runs._provenance()
    assert found["device"].startswith("CPU ") and found["device"].endswith(", 3 threads")
    assert found["commit"] == "a copy" and found["versions"]["accelerate"] == "not installed"

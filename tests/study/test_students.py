from dataclasses import replace

import pytest
import torch

from xtcq.quantization import get_widths
from xtcq.study import Experiment, build_student, load_student, run, students, trained_student

TEACHER = Experiment(task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2)
STUDENT = Experiment(
    task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2, precision="1-1-8", stages="two-stage", teacher=TEACHER
)


def test_loaded_student_is_the_trained_one(taught):
    run(STUDENT)
    first, _ = load_student(STUDENT)
    again, _ = load_student(STUDENT)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_the_tokenizer_of_a_student_cuts_where_training_did(taught, word_task, word_tokenizer):
    word_tokenizer.model_max_length = 512
    _, tokenizer = load_student(TEACHER)
    assert tokenizer.model_max_length == word_task.spec.max_length < 512


def test_a_student_is_loaded_without_its_encoders_weights(taught, monkeypatch):
    run(STUDENT)
    original, asked = students.load_encoder, []

    def spy(*args, pretrained=True):
        asked.append(pretrained)
        return original(*args, pretrained=pretrained)

    monkeypatch.setattr(students, "load_encoder", spy)
    load_student(STUDENT)
    assert asked == [False]


def test_loading_never_trains(small_world, trainings):
    with pytest.raises(FileNotFoundError, match=f"{TEACHER.digest}.* is not trained here.*trained_student"):
        load_student(TEACHER)
    assert trainings == []
    trained_student(TEACHER)
    load_student(TEACHER)
    assert trainings == [TEACHER.digest]


def test_a_student_is_built_with_the_widths_that_it_was_given(small_world):
    widths = {"bert.encoder.layer.1.output.dense": (2, 3)}
    fields = {"recipe": "adaqat", "stages": "one-stage", "precision": "8-4-8", "allocation": widths}
    built, _ = build_student(replace(STUDENT, **fields))
    found = get_widths(built)
    assert found["bert.encoder.layer.1.output.dense"] == (2, 3) and found["bert.pooler.dense"] == (8, 8)

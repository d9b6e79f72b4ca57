import pytest

from xtcq.study import Experiment, load_student, run, students, trained_student

TEACHER = Experiment(task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2)
STUDENT = Experiment(
    task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2, precision="1-1-8", stages="two-stage", teacher=TEACHER
)


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


def test_a_student_that_answers_questions(
    folders, monkeypatch, every_task_is, tiny_bert, question_task, word_tokenizer
):
    def load_encoder(name, num_labels, head, pretrained=True):
        return tiny_bert(layers=2, num_labels=num_labels, head=head), word_tokenizer

    monkeypatch.setattr(students, "load_encoder", load_encoder)
    every_task_is(question_task)
    fields = {"task": "squad-articles", "epochs": 0.5, "learning_rate": 1e-3, "evaluations": 1}
    student = Experiment(**fields, precision="2-2-8", stages="one-stage", layers=(1,), teacher=Experiment(**fields))
    record = run(student)
    assert set(record.best) == {"f1", "exact_match"}
    assert record.bitops == 2 * 8 * 12 * 32 * 32  # one layer: no pooler
    config = load_student(student)[0].config
    assert config.num_hidden_layers == 1 and config.num_texts == 2

import pytest
import torch

from xtcq.packing import load_packed, save_packed
from xtcq.quantization import freeze
from xtcq.study import Experiment, load_student, run, students

TEACHER = Experiment(task="squad-articles", epochs=0.5, learning_rate=1e-3, evaluations=1)
STUDENT = Experiment(
    task="squad-articles",
    epochs=0.5,
    learning_rate=1e-3,
    evaluations=1,
    precision="2-2-8",
    stages="one-stage",
    layers=(1,),
    teacher=TEACHER,
)


@pytest.fixture
def question_world(folders, monkeypatch, every_task_is, tiny_bert, question_task, word_tokenizer):
    """Every model is a tiny BERT and every task asks simple questions."""

    def load_encoder(name, num_labels, head, pretrained=True):
        return tiny_bert(layers=2, num_labels=num_labels, head=head), word_tokenizer

    monkeypatch.setattr(students, "load_encoder", load_encoder)
    every_task_is(question_task)
    return folders


def test_from_the_teacher_to_the_packed_student(question_world, tmp_path, padded_batch):
    record = run(STUDENT)
    assert set(record.best) == {"f1", "exact_match"}
    assert record.bitops == 2 * 8 * 12 * 32 * 32  # one layer: no pooler
    student, tokenizer = load_student(STUDENT)
    assert student.config.num_hidden_layers == 1
    packed = load_packed(save_packed(freeze(student), tmp_path / "packed", tokenizer=tokenizer))
    with torch.no_grad():
        ours, theirs = student(**padded_batch), packed(**padded_batch)
    for name in ("start_logits", "end_logits"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)


@pytest.mark.parametrize("task", ["squad-articles", "demo-questions"])
def test_questions_are_not_augmented(task):
    with pytest.raises(ValueError, match=f"augmentation 'neighbours' replaces words, and task '{task}' asks for words"):
        Experiment(task=task, epochs=1, learning_rate=1e-4, augmentation="neighbours")

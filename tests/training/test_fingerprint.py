"""A folder of another training is refused, and one that goes on is taken."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from tokenizers import normalizers

from xtcq.distillation import LayerMap, finetune, one_stage, two_stage
from xtcq.quantization import QuantConfig, quantize, use_score_attention
from xtcq.training import Paused, TrainSettings, train
from xtcq.training.fingerprint import FILE

SETTINGS = TrainSettings(learning_rate=1e-3, batch_size=8, seed=3, evaluations=2)


@pytest.fixture
def arguments(tiny_bert, word_task, word_tokenizer, tmp_path):
    """What train is given for a student at two bits; every call makes models anew."""

    def build(**changes):
        student = use_score_attention(quantize(tiny_bert(), QuantConfig("2-2-8")))
        given = {"student": student, "stages": one_stage(1), "task": word_task, "tokenizer": word_tokenizer}
        given |= {"folder": tmp_path / "run", "settings": SETTINGS, "teacher": use_score_attention(tiny_bert(layers=4))}
        return given | changes

    return build


def shifted(model, by=1e-3):
    with torch.no_grad():
        next(model.parameters()).add_(by)
    return model


def cutting_on_the_left(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.truncation_side = "left"
    return tokenizer


def lowercasing(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


CHANGES = [
    (lambda a: {"settings": replace(a["settings"], learning_rate=5e-2)}, "learning_rate was 0.001 and is 0.05"),
    (lambda a: {"settings": replace(a["settings"], seed=4)}, "settings.seed was 3 and is 4"),
    (lambda a: {"stages": one_stage(2)}, "stages.0.epochs was 1 and is 2"),
    (lambda a: {"stages": two_stage(1)}, "plan was .*hidden.attention.logits"),
    (lambda a: {"task": replace(a["task"], train=a["task"].train.iloc[::-1])}, "data was"),
    (lambda a: {"task": replace(a["task"], spec=replace(a["task"].spec, max_length=6))}, "task.max_length was 16"),
    (lambda a: {"student": shifted(a["student"])}, "student.weights at the beginning are others"),
    (lambda a: {"teacher": shifted(a["teacher"])}, "teacher.weights at the beginning are others"),
    (lambda a: {"tokenizer": cutting_on_the_left(a["tokenizer"])}, "tokenizer was"),
    (lambda a: {"tokenizer": lowercasing(a["tokenizer"])}, "tokenizer was"),
    (lambda a: {"layer_map": LayerMap.kept((1, 3))}, "layer map was null and is given"),
    (lambda a: {"teacher": None, "stages": finetune(1)}, "teacher was a BertForSequenceClassification and is null"),
]


def test_a_folder_of_another_training_is_refused(arguments):
    train(**arguments())
    for change, named in CHANGES:
        again = arguments()
        again |= change(again)
        before = copy.deepcopy(again["student"].state_dict())
        message = f"stage-0 holds a stage of another training: .*{named}.*another folder, or"
        with pytest.raises(ValueError, match=message):
            train(**again)
        torch.testing.assert_close(again["student"].state_dict(), before, rtol=0, atol=0)


def test_of_many_differences_four_are_named(arguments):
    train(**arguments())
    settings = {"learning_rate": 1e-4, "batch_size": 4, "seed": 4, "evaluations": 1}
    for others, more in ((settings, "1. Give another"), (settings | {"compute": "bf16"}, "and 1 more. Give another")):
        with pytest.raises(ValueError, match=f"stage of another training: (settings.[^;]*; ){{3}}settings.[^;]*{more}"):
            train(**arguments(settings=TrainSettings(**others)))


def test_another_precision_is_refused_while_a_run_is_under_way(arguments, tiny_bert):
    with pytest.raises(Paused):
        train(**arguments(), pause=lambda: True)
    other = use_score_attention(quantize(tiny_bert(), QuantConfig("1-1-8")))
    with pytest.raises(ValueError, match="student.precision was .2-2-8. and is .1-1-8."):
        train(**arguments(student=other))


def test_a_student_that_was_interrupted_goes_on(arguments):
    """With the same object, as a cell that is run again does it: a call that fails gives its weights back."""
    whole = arguments()
    expected = train(**whole)
    given = arguments(folder=whole["folder"].with_name("cut"))
    before = copy.deepcopy(given["student"].state_dict())
    with pytest.raises(Paused):
        train(**given, pause=lambda: True)
    torch.testing.assert_close(given["student"].state_dict(), before, rtol=0, atol=0)
    result = train(**given)
    assert [e.get("metrics") for e in result.history] == [e.get("metrics") for e in expected.history]
    torch.testing.assert_close(given["student"].state_dict(), whole["student"].state_dict(), rtol=0, atol=0)


def test_a_training_that_never_began_keeps_no_folder(arguments):
    with pytest.raises(ValueError, match="train longer"):
        train(**arguments(stages=one_stage(0.01)))
    with pytest.raises(FloatingPointError):
        train(**arguments(settings=replace(SETTINGS, learning_rate=1e30)))
    assert train(**arguments()).history


def test_rounding_and_facts_of_another_version_are_no_difference(arguments):
    """Sums follow the number of threads, and so do weights that a recipe computes from them."""
    given = arguments()
    first = train(**given)
    file = given["folder"] / "stage-0" / FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"colour": "red"}))
    again = arguments()
    with torch.no_grad():
        for parameter in again["student"].parameters():
            parameter.mul_(1 + 2e-7)
    assert train(**again).history == first.history


def test_how_many_runs_share_the_machine_decides_nothing_and_a_damaged_fingerprint_all(arguments):
    given = arguments()
    train(**given)
    train(**arguments(settings=replace(SETTINGS, side_by_side=4)))
    file = given["folder"] / "stage-0" / FILE
    for text in ("", "[1]", "{", '{"settings": 3, "student": {"weights": 7}}', None):
        file.unlink() if text is None else file.write_text(text)
        with pytest.raises(ValueError, match="stage-0 holds a stage of another training: "):
            train(**arguments())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": []}, r"stages is \[\], expected a list of at least one Stage"),
        ({"stages": finetune(1)[0]}, "stages is Stage"),
        ({"settings": {"learning_rate": 1e-3}}, "settings is .*, expected TrainSettings"),
    ],
)
def test_values_of_the_wrong_kind(arguments, change, message):
    with pytest.raises(ValueError, match=message):
        train(**arguments(**change))


def test_no_examples(arguments, word_task):
    empty = word_task.train.iloc[:0]
    for task in (replace(word_task, train=empty), replace(word_task, evaluation={"validation": empty}),
                 replace(word_task, evaluation={})):  # fmt: skip
        with pytest.raises(ValueError, match="task 'words' has .* examples, expected some to train and to evaluate on"):
            train(**arguments(task=task))


def test_a_split_whose_scores_would_not_be_found(arguments, word_task):
    task = replace(word_task, evaluation={"dev": word_task.evaluation["validation"]})
    with pytest.raises(ValueError, match="evaluation split is 'dev'.*validation_matched"):
        train(**arguments(task=task))


def test_the_folder_may_be_a_text_and_no_file(arguments, tmp_path):
    train(**arguments(folder=str(tmp_path / "text")))
    assert (tmp_path / "text" / "stage-0" / "history.json").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file: give the name of a folder"):
        train(**arguments(folder=tmp_path / "file"))

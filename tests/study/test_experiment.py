import json
import math
from dataclasses import replace

import pytest

from xtcq.adaqat import AdaQATSettings
from xtcq.quantization import QuantConfig, QuantLinear, quantize
from xtcq.study import Experiment, experiment
from xtcq.tasks import task_spec

TEACHER = Experiment(task="mrpc", epochs=3, learning_rate=5e-5)
LARGE = replace(TEACHER, model="bert-base-uncased")


@pytest.mark.parametrize(
    ("changed", "value"),
    [("WEIGHT_DECAY", 0.1), ("WARMUP", 0.0), ("MAX_GRAD_NORM", 5.0), ("ADAM_EPSILON", 1e-8), ("METHOD", 99)],
)
def test_whatever_decides_the_result_is_in_the_digest(monkeypatch, changed, value):
    before = TEACHER.digest
    monkeypatch.setattr(experiment, changed, value)
    assert TEACHER.digest != before


@pytest.mark.parametrize("changed", [{"batch_size": 8}, {"max_length": 32}])
def test_so_are_batches_and_lengths_of_the_task(monkeypatch, changed):
    before, spec = TEACHER.digest, task_spec("mrpc")
    monkeypatch.setattr(experiment, "task_spec", lambda name: replace(spec, **changed))
    assert TEACHER.digest != before


def test_nested_values_may_be_dicts():
    given = {"task": "mrpc", "epochs": 3, "learning_rate": 1e-4, "stages": "one-stage", "precision": "1-1-8"}
    assert Experiment(**given, teacher=TEACHER.to_dict()) == Experiment(**given, teacher=TEACHER)
    small = replace(TEACHER, stages="one-stage", teacher=TEACHER, layers=(1, 3))
    begun = Experiment(**given, teacher=TEACHER.to_dict(), layers=(1, 3), start=json.loads(json.dumps(small.to_dict())))
    assert begun.start == small
    with pytest.raises(ValueError, match=r"teacher is 'mrpc': give Experiment\(...\), a dict of its fields, or None"):
        Experiment(**given, teacher="mrpc")


@pytest.mark.parametrize(("epochs", "steps"), [(3, 345), (0.5, 58), (8.695, 1000)])
def test_steps_of_the_whole_plan(epochs, steps):
    plans = {"finetune", "one-stage", "two-stage", "three-stage"}
    assert {replace(TEACHER, epochs=epochs, stages=plan, teacher=TEACHER).steps for plan in plans} == {steps}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "mrcp"}, "mrcp"),
        ({"model": "bert-huge"}, "model is 'bert-huge', expected one of 'minilm-l6'"),
        ({"stages": "four-stage"}, "stages is 'four-stage', expected one of 'finetune', 'one-stage'"),
        ({"recipe": "gptq"}, "gptq"),
        ({"precision": "9-2-8"}, "9"),
        ({"precision": "two"}, "two"),
        ({"epochs": 0}, "epochs is 0, expected a positive number"),
        ({"learning_rate": math.inf}, "learning_rate is inf, expected a positive"),
        ({"learning_rate": "5e-5"}, "learning_rate is '5e-5', expected a positive"),
        ({"seed": 1.5}, "seed is 1.5, expected an integer"),
        ({"evaluations": 0}, "evaluations is 0, expected an integer of at least 1"),
        ({"stages": "one-stage"}, "'one-stage' distils: give the experiment that trains its teacher"),
        (
            {"stages": "one-stage", "teacher": Experiment(task="rte", epochs=3, learning_rate=5e-5)},
            "the teacher's task is 'rte' and the student's 'mrpc'",
        ),
        ({"layers": 5}, r"layers to keep are 5, expected a list of 0-based indices"),
        ({"layers": [0.5, 2]}, r"layers to keep are \[0.5, 2\], expected a list of 0-based indices"),
        ({"recipe": ["xtc"]}, r"recipe is \['xtc'\], expected one of 'xtc'"),
        ({"precision": 2}, "precision '2' is not understood"),
        ({"task": {"mrpc": 1}}, "unknown task {'mrpc': 1}"),
        ({"layers": (3, 1)}, r"layers to keep \[3, 1\] must be strictly rising 0-based indices below .* 6 layers"),
        ({"layers": (1, 1)}, r"layers to keep \[1, 1\]"),
        ({"layers": (1, 6)}, r"layers to keep \[1, 6\]"),
        ({"layers": (1, 3), "teacher": TEACHER, "model": "bert-base-uncased"}, r"layers=\[1, 3\] are cut out of the t"),
        (
            {"stages": "one-stage", "teacher": replace(TEACHER, precision="2-2-8")},
            "is quantized, and its student would begin with its weights",
        ),
        (
            {"stages": "one-stage", "teacher": LARGE},
            "hidden states of 'minilm-l6' have 384 values and those of the teacher's 'bert-base-uncased' 768",
        ),
        (
            {"task": "squad-articles", "augmentation": "neighbours"},
            "augmentation 'neighbours' replaces words, and task 'squad-articles' asks for words",
        ),
        ({"augmentation": "glove"}, "augmentation is 'glove', expected one of 'none', 'neighbours', 'masked-lm'"),
    ],
)
def test_impossible_values(fields, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**{"task": "mrpc", "epochs": 3, "learning_rate": 5e-5} | fields)


@pytest.mark.parametrize(
    "fields", [{"task": "mrpc"}, {"task": "mrpc", "epochs": 3, "learning_rate": 1e-4, "bits": 2}, 7]
)
def test_unknown_and_missing_fields(fields):
    with pytest.raises(ValueError, match="has the fields .*'epochs', 'learning_rate', 'task'.* are needed"):
        Experiment.from_dict(fields)


SMALL = Experiment(task="mrpc", epochs=3, learning_rate=5e-5, stages="one-stage", teacher=TEACHER, layers=(1, 3, 5))


def begun_with(start, **fields):
    return Experiment(
        **{"task": "mrpc", "epochs": 3, "learning_rate": 5e-5, "stages": "one-stage", "teacher": TEACHER}
        | {"precision": "1-1-8", "layers": (1, 3, 5), "start": start}
        | fields
    )


def test_layers_are_counted_in_the_encoder():
    assert SMALL.kept == (1, 3, 5) and TEACHER.kept is None
    taught_by_small = begun_with(SMALL, teacher=SMALL, layers=None)
    assert taught_by_small.kept == (1, 3, 5)
    assert begun_with(None, teacher=SMALL, layers=(0, 2)).kept == (1, 5)
    # A student that was pre-trained on its own is cut out of nothing.
    assert begun_with(None, model="tinybert-l6", layers=None, teacher=LARGE).kept is None


@pytest.mark.parametrize(
    ("start", "fields", "message"),
    [
        (SMALL, {"layers": (0, 1, 2)}, r"start has kept=\(1, 3, 5\) and this experiment \(0, 1, 2\)"),
        (TEACHER, {}, r"start has kept=None and this experiment \(1, 3, 5\)"),
        (SMALL, {"model": "tinybert-l6", "layers": None, "teacher": LARGE}, "start has model='minilm-l6'"),
        (begun_with(SMALL, lora_rank=1), {}, "start has LoRA of rank 1 and this experiment of rank 0"),
        (begun_with(SMALL, recipe="ternarybert", precision="2-2-8"), {}, "quantized by recipe 'ternarybert'"),
    ],
)
def test_a_start_that_does_not_fit(start, fields, message):
    with pytest.raises(ValueError, match=message):
        begun_with(start, **fields)


POOLER = "bert.pooler.dense"
LEARNED = {"task": "mrpc", "epochs": 4, "learning_rate": 5e-5, "recipe": "adaqat", "precision": "4-4-4"}


def test_a_label_says_what_differs():
    widths = AdaQATSettings(share=0.25, granularity="network")
    learned, given = Experiment(**LEARNED, adaqat=widths), Experiment(**LEARNED, allocation={POOLER: (2, 4)})
    assert "learned widths granularity=network share=0.25" in str(learned)
    # Of 37 matrices the others keep the 4 bits of the precision.
    assert f"allocated {(2 + 36 * 4) / 37:.2f}-4.00 bits" in str(given)
    assert f"from 32-32-32 ({SMALL.digest})" in str(begun_with(SMALL))
    assert [e.width_source for e in (begun_with(SMALL), learned, given)] == ["uniform", "learned for all", "allocated"]


def test_exploration_comes_before_the_plan():
    experiment = Experiment(**LEARNED, adaqat=AdaQATSettings(share=0.25), stages="two-stage", teacher=TEACHER)
    stages = experiment.plan()
    assert [stage.explores for stage in stages] == [True, False, False]
    assert [stage.epochs for stage in stages] == [1, 1.5, 1.5]
    assert not stages[0].distils and stages[1].distils


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"adaqat": {"lambda_weights": 0}}, "lambda_weights is 0, expected a positive number"),
        ({"adaqat": {"share": 2}}, "exploration cannot be as long as the whole training"),
        ({"adaqat": {"lamda": 1}}, "AdaQAT settings are"),
        ({"adaqat": True}, "adaqat is True: give AdaQATSettings"),
        ({"recipe": "xtc", "precision": "2-2-8"}, "recipe 'xtc' learns no bit-widths: use recipe 'adaqat'"),
        ({"precision": "32-4-4"}, "weights of 32 and activations of 4 bits, and widths shall be from 2 to 8"),
        ({"precision": "4-4-32"}, "activations of 32 bits, and widths shall be from 2 to 8"),
        ({"precision": "8-4-8", "adaqat": {"most": 6}}, "widths shall be from 2 to 6: start within that range"),
    ],
)
def test_an_experiment_that_cannot_explore(fields, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**LEARNED | {"adaqat": {}} | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recipe": "xtc", "precision": "2-2-8"}, "recipe 'xtc' has one width for all matrices"),
        ({"adaqat": {}, "precision": "4-4-4"}, "adaqat and allocation both give the matrices their widths"),
        ({"allocation": "random"}, "allocation is 'random': give a dict from matrix to"),
        ({"allocation": {}}, "allocation is {}: give a dict"),
        ({"allocation": {"pooler": (2, 2)}}, "allocation names 'pooler', and the matrices .* bert.encoder.layer.0."),
        ({"allocation": {"bert.pooler.dense": (2, 9)}}, r"gives bert.pooler.dense \(2, 9\): expected two integers"),
        ({"allocation": {"bert.pooler.dense": (2,)}}, "expected two integers from 1 to 8"),
        ({"allocation": {"bert.pooler.dense": 2}}, "gives bert.pooler.dense 2: expected two integers from 1 to 8"),
        ({"task": "squad1"}, "allocation names 'bert.pooler.dense'"),
    ],
)
def test_an_allocation_that_does_not_fit(fields, message):
    own = {"task": "mrpc", "recipe": "adaqat", "precision": "8-4-8", "allocation": {"bert.pooler.dense": (2, 4)}}
    with pytest.raises(ValueError, match=message):
        Experiment(**{"epochs": 3, "learning_rate": 1e-4} | own | fields)


@pytest.mark.parametrize(("task", "layers", "count"), [("mrpc", None, 37), ("squad1", None, 36), ("mrpc", (0, 2), 13)])
def test_matrices_are_known_without_building_a_student(task, layers, count, tiny_bert):
    teacher = {"task": task, "epochs": 3, "learning_rate": 1e-4}
    own = Experiment(**teacher, teacher=teacher, layers=layers)
    model = quantize(tiny_bert(layers=own.depth, head=own.spec.head), QuantConfig("4-4-4", "adaqat"))
    sizes = {name: m.weight.numel() for name, m in model.named_modules() if isinstance(m, QuantLinear)}
    assert list(own.matrices.items()) == [(name, size * (384 // 32) ** 2) for name, size in sizes.items()]
    assert len(sizes) == count


TAUGHT = {"task": "sst2", "teacher": {"task": "sst2", "epochs": 0.95, "learning_rate": 5e-5}, "stages": "one-stage"}
SMALL_SST2 = {**TAUGHT, "epochs": 1, "learning_rate": 5e-4, "layers": [1, 3, 5]}
WIDTHS = {"task": "mrpc", "epochs": 10, "learning_rate": 1e-4, "recipe": "adaqat"}
GOLDEN = {
    "c10589faf0bbc3b1": TAUGHT["teacher"],
    "39eee2214fe089c3": {**TAUGHT, "epochs": 0.475, "learning_rate": 2e-4, "precision": "2-2-8"},
    "2d0d07391a7aecc6": {
        **TAUGHT,
        **{"epochs": 0.475, "learning_rate": 2e-4, "precision": "1-1-8", "seed": 111, "stages": "three-stage"},
    },
    "a04950ec126501c9": {
        **{"task": "stsb", "epochs": 5.555, "learning_rate": 1e-4, "precision": "2-2-8", "stages": "two-stage"},
        **{"teacher": {"task": "stsb", "epochs": 5, "learning_rate": 1e-4}, "evaluations": 6},
    },
    "b7d5a27cf3f05b6d": SMALL_SST2,
    "4e7f97f61ac69b5b": {**SMALL_SST2, "precision": "1-1-8", "lora_rank": 1, "start": SMALL_SST2},
    "9c207be273a796d8": {
        **{"task": "mrpc", "epochs": 3, "learning_rate": 2e-5},
        **{"model": "bert-base-uncased", "augmentation": "masked-lm"},
    },
    "4d8b4df818a4570e": {**WIDTHS, "precision": "4-4-4", "adaqat": {"granularity": "kind", "share": 0.6}},
    "92025a34685b62b0": {**WIDTHS, "precision": "8-4-8", "allocation": {"bert.pooler.dense": [3, 5]}},
    "7355d935cd2b2300": {
        **{"task": "squad-articles", "epochs": 2, "learning_rate": 1e-4},
        **{"recipe": "ternarybert", "precision": "2-2-8"},
    },
}


@pytest.mark.parametrize("digest", GOLDEN)
def test_digests_stay_as_they_are_and_go_through_json(digest):
    """Records are found by these names: whoever changes one on purpose trains everything again."""
    experiment = Experiment(**GOLDEN[digest])
    again = Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))
    assert experiment.digest == again.digest == digest
    assert again == experiment and hash(again) == hash(experiment)

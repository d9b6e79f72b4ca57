import pytest
import torch
from transformers import DataCollatorWithPadding

from xtcq.distillation import DistillationLoss, LayerMap, one_stage
from xtcq.quantization import QuantConfig, quantize, use_score_attention
from xtcq.tasks import encode
from xtcq.training import plan as training
from xtcq.training.remembered import RememberedTeacher

ALL = ("hidden", "attention", "logits")


@pytest.fixture
def teacher(tiny_bert):
    """Four layers that count their passes."""
    model = use_score_attention(tiny_bert(layers=4)).eval()
    model.seen = []
    model.register_forward_pre_hook(
        lambda module, args, inputs: module.seen.append(len(inputs["input_ids"])), with_kwargs=True
    )
    return model


@pytest.fixture
def remember(teacher, word_task, word_tokenizer):
    examples = encode(word_task.train, word_task.spec, word_tokenizer)
    collate = DataCollatorWithPadding(word_tokenizer)

    def build(terms=ALL, **options):
        loss = DistillationLoss(terms, LayerMap.uniform(2, 4), "single_label_classification")
        return RememberedTeacher(teacher, loss, examples, collate, **options), loss

    build.batch = {name: value for name, value in collate([examples[i] for i in range(24)]).items() if name != "labels"}
    return build


@pytest.mark.parametrize("limit", [0, 150_000, 2**30])
@pytest.mark.parametrize("terms", [ALL, ("hidden", "attention"), ("attention",), ("logits",)])
def test_the_loss_is_that_of_the_teacher(remember, teacher, tiny_bert, terms, limit):
    remembered, loss = remember(terms, limit=limit)
    wanted = {"output_hidden_states": "hidden" in loss.terms, "output_attentions": "attention" in loss.terms}
    student = use_score_attention(tiny_bert()).train()
    output = student(**remember.batch, **wanted)
    with torch.no_grad():
        target = teacher(**remember.batch, **wanted)
    mask = remember.batch["attention_mask"]
    expected, _ = loss(output, target, mask)
    assert expected > 0
    for _ in range(2):
        torch.testing.assert_close(loss(output, remembered(**remember.batch, **wanted), mask)[0], expected)
    # The place of padding makes no difference either.
    wider = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in remember.batch.items()}
    output, mask = student.eval()(**wider, **wanted), wider["attention_mask"]
    with torch.no_grad():
        target = teacher(**wider, **wanted)
    torch.testing.assert_close(loss(output, remembered(**wider, **wanted), mask)[0], loss(output, target, mask)[0])


def test_every_example_passes_once(remember, teacher):
    remembered, _ = remember()
    for _ in range(3):
        remembered(**remember.batch)
    assert teacher.seen == [32, 32, 32]


def test_what_exceeds_the_limit_passes_every_time(remember, teacher):
    # Three hidden states of 32 features and two layers' scores of two heads.
    lengths = sorted(remember()[0]._examples.lengths)
    sizes = [4 * (length * 3 * 32 + 2 * 2 * length**2 + 2) for length in lengths]
    remembered, _ = remember(limit=sum(sizes[:40]))
    remembered(**remember.batch)
    assert len(remembered._rows) == len(set(remembered._rows)) <= 40
    del teacher.seen[:]
    remembered(**remember.batch)
    (passed,) = teacher.seen
    missing = [n for n in remember.batch["attention_mask"].sum(dim=1).tolist() if n > lengths[40]]
    assert len(missing) <= passed < 24


@pytest.fixture
def fit(fit, teacher, tiny_bert):
    def run(plan, folder):
        return fit(plan, use_score_attention(quantize(tiny_bert(), QuantConfig("2-2-8"))), folder, teacher=teacher)

    return run


@pytest.mark.parametrize(("epochs", "passes"), [(1, 12), (2, 3)])
def test_examples_that_are_seen_twice_are_remembered(fit, teacher, epochs, passes, monkeypatch):
    monkeypatch.setattr(training, "check_teacher", lambda *_: None)
    fit(one_stage(epochs), "run")
    assert len(teacher.seen) == passes


def test_an_interrupted_run_meets_the_same_outputs(fit, interrupted):
    whole, _ = fit(one_stage(2), "whole")
    with interrupted(20):
        fit(one_stage(2), "cut")
    resumed, _ = fit(one_stage(2), "cut")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)

import math

import pytest
import torch
from transformers.utils import ModelOutput

from xtcq.distillation import DistillationLoss, LayerMap, attention_loss, hidden_loss, logit_loss
from xtcq.distillation.losses import position_loss
from xtcq.outputs import CLASSES, MULTI_LABEL, REGRESSION
from xtcq.quantization import QuantConfig, quantize, use_score_attention


@pytest.fixture
def mask():
    return torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])


def test_hidden_loss_is_the_mean_over_real_tokens(mask):
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64), torch.randn(2, 4, 5, dtype=torch.float64)
    real = mask.bool()
    expected = ((student[real] - teacher[real]) ** 2).mean()
    torch.testing.assert_close(hidden_loss(student, teacher, mask), expected)


def test_attention_loss_is_the_mean_over_heads_and_real_pairs(mask):
    student, teacher = (torch.randn(2, 3, 4, 4, dtype=torch.float64) for _ in range(2))
    total, count = 0.0, 0
    for b, length in enumerate((3, 2)):
        total += ((student[b, :, :length, :length] - teacher[b, :, :length, :length]) ** 2).sum()
        count += 3 * length * length
    torch.testing.assert_close(attention_loss(student, teacher, mask), total / count)


@pytest.mark.parametrize(("loss", "shape"), [(hidden_loss, (2, 4, 5)), (attention_loss, (2, 3, 4, 4))])
def test_a_batch_without_a_real_token_teaches_nothing(loss, shape):
    student = torch.randn(shape, requires_grad=True)
    value = loss(student, torch.randn(shape), torch.zeros(2, 4))
    value.backward()
    assert value == 0 and (student.grad == 0).all()


def test_logit_loss_is_soft_cross_entropy():
    student, teacher = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    expected = -(teacher.softmax(-1) * student.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(logit_loss(student, teacher, CLASSES), expected)


def outputs(layers, mask, **changes):
    torch.manual_seed(layers)
    fields = {
        "logits": torch.randn(2, 2),
        "hidden_states": tuple(torch.randn(2, 4, 5) for _ in range(layers + 1)),
        "attentions": tuple(torch.randn(2, 3, 4, 4) for _ in range(layers)),
    }
    return ModelOutput(**fields | changes)


def test_sum_over_the_layer_map(mask):
    student, teacher = outputs(2, mask), outputs(4, mask)
    layer_map = LayerMap.uniform(2, 4)
    total, parts = DistillationLoss(("hidden", "attention", "logits"), layer_map, CLASSES)(student, teacher, mask)
    hidden = sum(
        hidden_loss(student.hidden_states[s], teacher.hidden_states[t], mask) for s, t in [(0, 0), (1, 2), (2, 4)]
    )
    attention = sum(attention_loss(student.attentions[s], teacher.attentions[t], mask) for s, t in [(0, 1), (1, 3)])
    torch.testing.assert_close(parts["hidden"], hidden)
    torch.testing.assert_close(parts["attention"], attention)
    torch.testing.assert_close(total, hidden + attention + logit_loss(student.logits, teacher.logits, CLASSES))


@pytest.mark.parametrize("empty", [(), None])
def test_empty_attentions_are_refused(mask, empty):
    loss = DistillationLoss(("attention",), LayerMap.uniform(2, 2))
    with pytest.raises(ValueError, match="the teacher returned no attentions.*output_attentions=True"):
        loss(outputs(2, mask), outputs(2, mask, attentions=empty), mask)


@pytest.mark.parametrize("terms", [(), ("hidden", "labels"), ("relations",)])
def test_unknown_terms(terms):
    with pytest.raises(ValueError, match="must be one or more of hidden, attention, logits"):
        DistillationLoss(terms, LayerMap.uniform(1, 1))


@pytest.mark.parametrize(
    ("change", "named"), [({"heads": 4}, "num_attention_heads=4"), ({"num_labels": 3}, "num_labels=3")]
)
def test_teacher_that_does_not_fit(tiny_bert, change, named):
    loss = DistillationLoss(("hidden", "attention", "logits"), LayerMap.uniform(2, 2))
    with pytest.raises(ValueError, match=f"the teacher has {named}"):
        loss.check(tiny_bert().config, tiny_bert(**change).config)


@pytest.mark.parametrize(("field", "value"), [("vocab_size", 50), ("vocab_size", 102), ("type_vocab_size", 1)])
@pytest.mark.parametrize("terms", [("hidden",), ("logits",)])
def test_a_teacher_of_another_vocabulary(tiny_bert, terms, field, value):
    student, teacher = tiny_bert().config, tiny_bert().config
    setattr(teacher, field, value)
    with pytest.raises(ValueError, match=f"the teacher has {field}={value} and the student {field}=.*same tokens"):
        DistillationLoss(terms, LayerMap.uniform(2, 2)).check(student, teacher)


def test_scores_are_needed_to_compare_attention(tiny_bert):
    student, teacher = use_score_attention(tiny_bert()), tiny_bert()
    teacher.set_attn_implementation("eager")  # which hands out probabilities, and nothing would look wrong
    loss = DistillationLoss(("attention",), LayerMap.uniform(2, 2))
    with pytest.raises(ValueError, match="the teacher's attention function is 'eager', which hands out no scores: ca"):
        loss.check(student.config, teacher.config)
    loss.check(student.config, use_score_attention(teacher).config)


def test_the_logit_loss_of_several_labels_is_their_binary_cross_entropy():
    """By hand: the teacher says 3/4 and 1/2, the student 1/2 and 1/4."""
    third = math.log(3)
    teacher, student = torch.tensor([[third, 0.0]]), torch.tensor([[0.0, -third]])
    expected = -(math.log(1 / 2) + math.log(1 / 4) / 2 + math.log(3 / 4) / 2) / 2
    found = logit_loss(student, teacher, MULTI_LABEL)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    # A shift of all logits is seen, as it is not under a softmax.
    least = logit_loss(teacher, teacher, MULTI_LABEL)
    assert logit_loss(teacher - 10, teacher, MULTI_LABEL) > least + 1
    shifted, same = (logit_loss(logits, teacher, CLASSES).item() for logits in (teacher - 10, teacher))
    assert shifted == pytest.approx(same, rel=1e-5)
    with pytest.raises(ValueError, match="problem_type of the logits is 'several', expected one of 'single_label"):
        logit_loss(student, teacher, "several")


def test_logits_whose_meaning_is_not_said(tiny_bert, mask):
    """The loss of classes is blind to a student that says no to every label that its teacher says yes to."""
    logits = torch.randn(2, 3)
    with pytest.raises(ValueError, match="problem_type of the logits is None, expected one of 'single_label"):
        logit_loss(logits - 10, logits)
    loss = DistillationLoss(("logits",), LayerMap.uniform(2, 2))
    with pytest.raises(ValueError, match="problem_type of the logits is None"):
        loss(ModelOutput(logits=logits), ModelOutput(logits=logits), mask)
    with pytest.raises(ValueError, match="'single_label_classification', and its logits would be compared as .* None"):
        loss.check(tiny_bert().config, tiny_bert().config)


def test_one_label_that_holds_or_not_is_no_regression():
    teacher, student = torch.tensor([[math.log(3)]]), torch.tensor([[0.0]])
    assert logit_loss(student, teacher, REGRESSION).item() == pytest.approx(math.log(3) ** 2)
    assert logit_loss(student, teacher, MULTI_LABEL).item() == pytest.approx(math.log(2))


def test_the_loss_and_the_models_agree_on_what_logits_mean(tiny_bert, mask):
    student, teacher = tiny_bert(num_labels=3).config, tiny_bert(num_labels=3).config
    several = DistillationLoss(("logits",), LayerMap.uniform(2, 2), MULTI_LABEL)
    one = DistillationLoss(("logits",), LayerMap.uniform(2, 2), CLASSES)
    one.check(student, teacher)
    teacher.problem_type = MULTI_LABEL
    for loss in (one, several):
        with pytest.raises(ValueError, match="has problem_type .*, and its logits would be compared as those of"):
            loss.check(student, teacher)
    student.problem_type = MULTI_LABEL
    several.check(student, teacher)
    logits = torch.randn(2, 3), torch.randn(2, 3)
    total, _ = several(*(ModelOutput(logits=x) for x in logits), mask)
    torch.testing.assert_close(total, logit_loss(*logits, MULTI_LABEL))
    student.problem_type = teacher.problem_type = "regression"
    with pytest.raises(ValueError, match="'regression' with 3 outputs, expected one: xtcq compresses regressions of"):
        one.check(student, teacher)


def test_position_loss_is_cross_entropy_over_real_positions(mask):
    student, teacher = (torch.randn(2, 4, dtype=torch.float64) for _ in range(2))
    expected = 0.0
    for b, length in enumerate((3, 2)):
        p, q = teacher[b, :length].softmax(0), student[b, :length].softmax(0)
        expected -= (p * q.log()).sum() / 2
    torch.testing.assert_close(position_loss(student, teacher, mask), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_padding_has_no_part_in_positions(mask, dtype):
    student, teacher = torch.randn(2, 4).to(dtype).requires_grad_(), torch.randn(2, 4).to(dtype)
    loss = position_loss(student, teacher, mask)
    loss.backward()
    assert torch.isfinite(loss) and (student.grad[mask == 0] == 0).all() and (student.grad[mask == 1] != 0).all()
    changed, other = (torch.where(mask == 1, x.detach(), 9.0).to(dtype) for x in (student, teacher))
    torch.testing.assert_close(position_loss(changed, other, mask), loss.detach(), rtol=0, atol=0)


def test_the_logit_term_of_questions_is_the_mean_of_start_and_end(mask):
    names = ("start_logits", "end_logits")
    student, teacher = (ModelOutput({name: torch.randn(2, 4) for name in names}) for _ in range(2))
    loss, parts = DistillationLoss(("logits",), LayerMap.uniform(2, 2))(student, teacher, mask)
    expected = sum(position_loss(student[name], teacher[name], mask) for name in names) / 2
    torch.testing.assert_close(loss, expected)
    assert list(parts) == ["logits"]


OUTPUTS = {"output_hidden_states": True, "output_attentions": True}


@pytest.mark.parametrize(
    ("precision", "recipe"),
    [("1-1-8", "xtc"), ("2-2-8", "ternarybert"), ("1-1-4", "binarybert"), ("2-4-4", "adaqat")],
)
def test_a_step_of_distillation_compiles_into_one_graph(tiny_bert, padded_batch, precision, recipe):
    """XTC's with teacher and autograd; the others without: the teacher is the same, and every quantizer is traced."""
    student = use_score_attention(quantize(tiny_bert(layers=1), QuantConfig(precision, recipe)))
    student.eval()  # without dropout both ways give the same number
    teacher = use_score_attention(tiny_bert(layers=1).eval().requires_grad_(False))
    loss = DistillationLoss(("hidden", "attention", "logits"), LayerMap.uniform(1, 1), CLASSES)
    target, mask = teacher(**padded_batch, **OUTPUTS), padded_batch["attention_mask"]
    whole = recipe == "xtc"

    def forward():
        wanted = teacher(**padded_batch, **OUTPUTS) if whole else target
        return loss(student(**padded_batch, **OUTPUTS), wanted, mask)[0]

    expected = forward()  # transformers hooks the layers on the first call, which cannot be traced
    compiled = torch.compile(forward, fullgraph=True, backend="aot_eager" if whole else "eager")()
    torch.testing.assert_close(compiled, expected)
    compiled.backward()
    assert all(p.grad is not None for p in student.bert.encoder.parameters() if p.requires_grad)


@pytest.mark.parametrize("shape", [(2, 1, 5), (2, 1, 1, 5), (1, 5), (2, 4)])
def test_a_mask_of_another_shape_is_refused(shape):
    hidden, scores = torch.randn(2, 5, 8), torch.randn(2, 3, 5, 5)
    with pytest.raises(ValueError, match=r"expected \(2, 5\): give the tokenizer's attention_mask, not extended"):
        hidden_loss(hidden, hidden, torch.ones(shape))
    with pytest.raises(ValueError, match=r"expected \(2, 5\)"):
        attention_loss(scores, scores, torch.ones(shape))
    with pytest.raises(ValueError, match="expected two of one shape"):
        hidden_loss(hidden, hidden[..., :4], torch.ones(2, 5))


def test_probabilities_are_no_scores(tiny_bert, padded_batch):
    """What transformers advises beside its warning, attn_implementation='eager', would train on something else."""
    teacher, student = tiny_bert(layers=2).eval(), tiny_bert(layers=2).train()
    loss = DistillationLoss(("attention",), LayerMap.uniform(2, 2))
    mask = padded_batch["attention_mask"]

    def outputs(model):
        return model(**padded_batch, output_attentions=True)

    use_score_attention(student)
    teacher.set_attn_implementation("eager")
    for _ in range(2):  # as often as a cell is run
        with pytest.raises(ValueError, match="the teacher's attentions are probabilities.*use_score_attention"):
            loss(outputs(student), outputs(teacher), mask)
    use_score_attention(teacher)
    student.set_attn_implementation("eager")
    with pytest.raises(ValueError, match="the student's attentions are probabilities"):
        DistillationLoss(("attention",), LayerMap.uniform(2, 2))(outputs(student), outputs(teacher), mask)
    use_score_attention(student)
    again = DistillationLoss(("attention",), LayerMap.uniform(2, 2))
    with pytest.raises(ValueError, match="values from -10000 to 0, expected 1 for a real token"):
        again(outputs(student), outputs(teacher), (mask - 1) * 10_000)
    assert again(outputs(student), outputs(teacher), mask)[0] > 0
    logits = DistillationLoss(("logits",), LayerMap((), ()), CLASSES)
    assert logits(outputs(student), outputs(teacher), None)[0] > 0  # which no mask is needed for


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (((0, -1),), r"pair \(student 0, teacher -1\) for hidden_states"),
        (((0, 9),), "there are 3 and 3"),
        ((), "no pair"),
    ],
)
def test_a_layer_map_of_other_models(tiny_bert, padded_batch, pairs, message):
    model = tiny_bert(layers=2).eval()
    output = model(**padded_batch, output_hidden_states=True)
    with pytest.raises(ValueError, match=message):
        DistillationLoss(("hidden",), LayerMap(pairs, ()))(output, output, padded_batch["attention_mask"])

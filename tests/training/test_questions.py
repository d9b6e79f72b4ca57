import numpy as np
import pytest
import torch
from transformers import DataCollatorWithPadding

from xtcq.distillation import finetune, one_stage
from xtcq.quantization import QuantConfig, quantize, use_score_attention
from xtcq.tasks import encode


@pytest.fixture
def fit(fit, tiny_bert, question_task):
    """Train a tiny student on questions."""

    def run(stages, student=None, evaluations=2, **changes):
        student = tiny_bert(head="questions") if student is None else student
        return fit(stages, student, task=question_task, learning_rate=5e-3, evaluations=evaluations, **changes)

    return run


def test_fine_tuning_learns_and_keeps_its_best_weights(fit, question_task, word_tokenizer):
    student, result = fit(finetune(8))
    evaluated = [entry["metrics"] for entry in result.history if "metrics" in entry]
    assert [set(metrics) for metrics in evaluated] == [{"f1", "exact_match"}] * 2
    assert result.best["f1"] == max(metrics["f1"] for metrics in evaluated)
    assert result.best["f1"] > 60  # no answer anywhere gets 25
    data = encode(question_task.evaluation["validation"], question_task.spec, word_tokenizer)
    batch = DataCollatorWithPadding(word_tokenizer)([data[i] for i in range(len(data))])
    with torch.no_grad():
        output = student.eval()(**batch)
    assert data.evaluate((output.start_logits.numpy(), output.end_logits.numpy()))[0] == pytest.approx(result.best)
    # The label loss is the mean of two cross-entropies.
    losses = [
        torch.nn.functional.cross_entropy(output[f"{s}_logits"], batch[f"{s}_positions"]) for s in ("start", "end")
    ]
    torch.testing.assert_close(output.loss, sum(losses) / 2)


def test_a_quantized_student_imitates_its_teacher(fit, tiny_bert):
    teacher = use_score_attention(tiny_bert(layers=4, head="questions"))
    student = use_score_attention(quantize(tiny_bert(head="questions"), QuantConfig(precision="2-2-8")))
    _, result = fit(one_stage(2), student=student, teacher=teacher, evaluations=1)
    parts = [entry for entry in result.history if "loss" in entry]
    assert set(parts[0]) >= {"loss_hidden", "loss_attention", "loss_logits"}
    for entry in parts:
        total = sum(entry[f"loss_{term}"] for term in ("hidden", "attention", "logits"))
        assert np.isclose(total, entry["loss"], rtol=1e-4)
    assert parts[-1]["loss"] < parts[0]["loss"]

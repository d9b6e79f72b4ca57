import logging

import pytest
import torch

from xtcq.quantization import DynamicQuantizer, QuantConfig, freeze, quantize, use_score_attention


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_output_is_that_of_the_other_attention_functions(tiny_bert, padded_batch, implementation):
    ours, other = (tiny_bert(heads=4).bert.eval() for _ in range(2))
    use_score_attention(ours), other.set_attn_implementation(implementation)
    ids, mask = padded_batch["input_ids"], padded_batch["attention_mask"]
    for given in (mask, None):
        left, right = (model(ids, attention_mask=given).last_hidden_state[mask.bool()] for model in (ours, other))
        torch.testing.assert_close(left, right, rtol=0, atol=1e-6)


def test_attentions_are_scores_before_the_mask(tiny_bert, padded_batch):
    model = use_score_attention(tiny_bert(heads=4)).eval()
    captured = {}
    for i, layer in enumerate(model.bert.encoder.layer):
        for name in ("query", "key"):
            layer.attention.self.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, key=(i, name): captured.__setitem__(key, output)
            )
    attentions = model(**padded_batch, output_attentions=True).attentions
    assert len(attentions) == 2
    for i, scores in enumerate(attentions):
        query, key = (captured[i, name].view(3, 9, 4, 8).transpose(1, 2) for name in ("query", "key"))
        expected = torch.einsum("bhqd,bhkd->bhqk", query, key) / 8**0.5
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
        assert scores.abs().max() < 100  # no mask value in them
        assert not torch.allclose(scores.sum(-1), torch.ones(()))


def test_scores_carry_gradients_and_dropout_leaves_them_alone(tiny_bert, padded_batch):
    model = use_score_attention(tiny_bert()).train()
    model.config.hidden_dropout_prob = 0.0
    attention = model.bert.encoder.layer[0].attention.self
    attention.dropout.p = 0.5
    x = torch.randn(2, 9, 32, requires_grad=True)
    output, scores = attention(x)
    again, same = attention(x)
    assert torch.equal(scores, same)
    assert not torch.equal(output, again)
    scores.sum().backward()
    assert x.grad.abs().sum() > 0


def test_switching_warns_of_nothing(tiny_bert, caplog):
    with caplog.at_level(logging.WARNING, logger="transformers"):
        use_score_attention(use_score_attention(tiny_bert()))
    assert not caplog.records


def test_operands_are_quantized_where_the_recipe_asks(tiny_bert, padded_batch):
    model = quantize(tiny_bert(), QuantConfig("32-32-4", recipe="ternarybert"), include="*.layer.0.attention.self")
    attention = model.bert.encoder.layer[0].attention.self.eval()
    quantizer = DynamicQuantizer(4, clip=2.5)
    x = 3 * torch.randn(2, 9, 32)
    query, key, value = (
        quantizer(attention.get_submodule(name)(x).view(2, 9, 2, 16).transpose(1, 2))
        for name in ("query", "key", "value")
    )
    expected_scores = query @ key.transpose(2, 3) / 4
    expected = quantizer(expected_scores.softmax(-1)) @ value
    output, scores = attention(x)
    torch.testing.assert_close(scores, expected_scores)
    torch.testing.assert_close(output, expected.transpose(1, 2).reshape(2, 9, 32))
    assert not hasattr(model.bert.encoder.layer[1].attention.self, "operand_quantizers")


def test_a_model_that_keeps_its_attention_is_refused(tiny_bert, monkeypatch):
    model = tiny_bert()
    monkeypatch.setattr(type(model), "_can_set_attn_implementation_cached_value", False, raising=False)
    with pytest.raises(ValueError, match="BertForSequenceClassification keeps its own attention function 'sdpa'"):
        use_score_attention(model)


def test_another_attention_function_is_noticed_where_operands_are_quantized(tiny_bert, padded_batch):
    model = quantize(tiny_bert(), QuantConfig("2-2-8", recipe="ternarybert"))
    model.set_attn_implementation("sdpa")
    message = r"set to 'sdpa' after quantize, which leaves out the quantizers.*: call use_score_attention\(model\)"
    with pytest.raises(ValueError, match=message):
        model(**padded_batch)
    with pytest.raises(ValueError, match=message):
        freeze(model)
    assert freeze(use_score_attention(model))(**padded_batch).logits.isfinite().all()


def test_without_quantized_operands_any_attention_function_will_do(tiny_bert, padded_batch):
    model = quantize(tiny_bert().eval(), QuantConfig("1-1-8"))
    expected = model(**padded_batch).logits
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(freeze(model)(**padded_batch).logits, expected)

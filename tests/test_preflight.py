import copy

import pytest
from tokenizers import processors
from torch import nn
from transformers import (
    BertConfig,
)

from xtcq.preflight import check_model, check_packable, check_tokenizer
from xtcq.quantization import RECIPES, QuantConfig, freeze, quantize


def test_a_table_larger_than_the_vocabulary_is_no_fault(word_tokenizer):
    for size in (101, 104, 30522):
        check_tokenizer(word_tokenizer, BertConfig(vocab_size=size))
    with pytest.raises(ValueError, match="as 100, and the model's table of tokens ends at 99: call model.resize_token"):
        check_tokenizer(word_tokenizer, BertConfig(vocab_size=100))


def test_a_tokenizer_that_leaves_out_what_a_classifier_reads(word_tokenizer):
    word_tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
    with pytest.raises(ValueError, match=r"has a token '\[CLS\]' and puts it before no text, where a classifier reads"):
        check_tokenizer(word_tokenizer, BertConfig())
    word_tokenizer.cls_token = None  # a model may have been trained so
    check_tokenizer(word_tokenizer, BertConfig())


def deeper_head(model):
    model.classifier = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 2))


def other_norm(model):
    model.bert.encoder.layer[0].output.LayerNorm = nn.LayerNorm(32, eps=1e-5)


def addition(model):
    model.bert.encoder.layer[0].adapter = nn.Linear(32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (deeper_head, "classifier is Sequential.* where its configuration gives Linear.in_features=32, out_features=2"),
        (other_norm, "layer.0.output.LayerNorm is LayerNorm.*eps=1e-05.* gives LayerNorm.*eps=1e-12"),
        (addition, "layer.0.adapter is Linear.* where its configuration gives nothing"),
    ],
)
def test_parts_that_a_packed_model_would_not_have(change, message, tiny_bert):
    model = tiny_bert()
    change(model)
    with pytest.warns(UserWarning, match=f"quantized, trained and frozen, and no more: BertForSeq.*{message}"):
        quantize(model, QuantConfig("1-1-8"))
    with pytest.raises(ValueError, match=message):
        check_packable(freeze(model))


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_quantize_puts_in_can_be_packed(recipe, tiny_bert):
    model = tiny_bert()
    model.dropout.p = 0.3
    for precision in ("1-1-8", "2-2-8"):
        try:
            student = quantize(copy.deepcopy(model), QuantConfig(precision, recipe))
        except ValueError:
            continue  # not every recipe has every precision
        check_packable(student)
        check_model(student)


def test_what_quantize_is_given_instead(tiny_bert):
    with pytest.raises(ValueError, match="given a BertForSequenceClassification and '1-1-8', expected a model and how"):
        quantize(tiny_bert(), "1-1-8")
    with pytest.raises(ValueError, match="quantize was given 'folder' and a QuantConfig, expected a model"):
        quantize("folder", QuantConfig("1-1-8"))

"""Sizes and bit operations against what the papers print and what their parameter counts give."""

import pytest
import torch
from transformers import BertConfig, BertModel, RobertaConfig

from xtcq.quantization import QuantConfig, architecture, bitops, cost_report, freeze, model_size, quantize

MIB = 2**20


def report(precision, recipe="xtc", layers=None, **options):
    return cost_report("bert-base", precision, recipe, layers, **options)


@pytest.mark.parametrize(
    ("layers", "one_bit", "two_bit", "full"),
    [
        (12, 13.037, 26.073, 417.176),
        (6, 7.974, 15.948, 255.176),
        (5, 7.130, 14.261, 228.176),
        (4, 6.287, 12.573, 201.176),
    ],
)
def test_nominal_sizes_of_xtc(layers, one_bit, two_bit, full):
    assert report("1-1-8", layers=layers)["nominal_mib"] == pytest.approx(one_bit, abs=5e-4)
    assert report("2-2-8", layers=layers)["nominal_mib"] == pytest.approx(two_bit, abs=5e-4)
    assert report("32-32-32", layers=layers)["nominal_mib"] == pytest.approx(full, abs=5e-4)


@pytest.mark.parametrize(("layers", "one_bit", "two_bit"), [(6, 8.132, 16.265), (5, 7.262, 14.525), (4, 6.392, 12.784)])
def test_nominal_sizes_of_xtc_with_a_low_rank_term(layers, one_bit, two_bit):
    assert report("1-1-8", layers=layers, lora_rank=1)["nominal_mib"] == pytest.approx(one_bit, abs=5e-4)
    assert report("2-2-8", layers=layers, lora_rank=1)["nominal_mib"] == pytest.approx(two_bit, abs=5e-4)


def test_nominal_size_counts_the_tables_left_in_floating_point_at_the_tokens_bits():
    """Weights at 1 bit, tables at 4: 84,934,656 + 589,824 pooler weights and 23,835,648 table entries."""
    expected = (85_524_480 + 4 * 23_835_648) / 8 / MIB
    assert report("1-4-8")["nominal_mib"] == pytest.approx(expected)
    assert report("1-8", embeddings="4-4-4")["nominal_mib"] == pytest.approx(expected)
    assert report("1-8", embeddings="4-4-8")["nominal_mib"] == pytest.approx(expected + 4 * 512 * 768 / 8 / MIB)


@pytest.mark.parametrize(
    ("layers", "xtc_1bit", "xtc_2bit", "ternarybert"),
    [
        (12, (17.26, 15.09), (25.01, 22.84), 22.87),
        (6, (11.97, 9.91), (16.68, 14.63), 14.54),
        (5, (11.08, 9.05), (15.29, 13.26), 13.16),
        (4, (10.20, 8.19), (13.90, 11.89), 11.77),
    ],
)
def test_packed_sizes(layers, xtc_1bit, xtc_2bit, ternarybert):
    for precision, expected in (("1-1-8", xtc_1bit), ("2-2-8", xtc_2bit)):
        model = quantize(architecture("bert-base", layers), QuantConfig(precision))
        sizes = [model_size(model, rest).packed_mib for rest in ("fp32", "fp16")]
        assert sizes == pytest.approx(expected, abs=0.0052)
    assert report("2-2-8", "ternarybert", layers)["packed_mib"] == pytest.approx(ternarybert, abs=0.0052)


def test_sizes_of_the_floating_point_model():
    size = model_size(architecture("bert-base"))
    assert size.parameters == 109_482_240
    assert size.packed_mib == pytest.approx(417.642, abs=5e-4)
    assert size.embedding_mb == pytest.approx(95.3426, abs=5e-5)


def test_nominal_size_of_ternarybert_is_the_28_that_adaqat_bert_quotes():
    assert report("2-2-8", "ternarybert")["nominal_mib"] == pytest.approx(27.951, abs=5e-4)


def test_nominal_size_of_adaqat_leaves_the_rest_in_floating_point():
    """Uniform 2-4-4: 73 matrices at 2 bits, tokens at 4, and (pos + type + biases + LayerNorm) at 4 bytes."""
    rest = 393_216 + 1_536 + 122_112
    expected = (85_524_480 * 2 + 23_440_896 * 4) / 8 + 4 * rest
    assert report("2-4-4", "adaqat")["nominal_mib"] * MIB == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tables", "size"),
    [
        ("32-32-32", 95.3426),
        ("8-32-32", 25.0199),
        ("4-32-32", 13.2995),
        ("8-32-8", 23.8403),
        ("4-32-8", 12.1198),
        ("8-32-4", 23.6436),
        ("4-32-4", 11.9232),
        ("4-4-4", 11.9178),
        ("2-2-2", 5.9589),
    ],
)
def test_embedding_sizes_of_adaqat_bert_table_5(tables, size):
    for recipe in ("adaqat", "xtc"):
        assert report("2-4", recipe, embeddings=tables)["embedding_mb"] == pytest.approx(size, abs=5.1e-5)


@pytest.mark.parametrize(
    ("precision", "recipe", "expected"),
    [
        ("2-4-4", "adaqat", 0.684e9),
        ("2-2-8", "adaqat", 1.368e9),
        ("2-2-8", "ternarybert", 1.368e9),
        ("1-1-4", "adaqat", 0.342e9),
        ("2-8-8", "adaqat", 1.368e9),
        ("2-2-8", "xtc", 1.359e9),
    ],
)
def test_bit_operations(precision, recipe, expected):
    assert report(precision, recipe)["bitops"] == pytest.approx(expected, abs=0.0005e9)


def test_bit_operations_follow_every_layer():
    model = quantize(architecture("minilm-l6", 1), QuantConfig("2-4-4", recipe="adaqat"))
    before = bitops(model)
    model.encoder.layer[0].output.dense.weight_quantizer.bits = 3
    model.pooler.dense.input_quantizer.bits = 8
    assert bitops(model) - before == 4 * 384 * 1536 + 2 * 4 * 384 * 384
    assert model_size(model).nominal_mib > 0


def test_bit_operations_of_layers_left_in_floating_point():
    model = quantize(architecture("minilm-l6", 1), QuantConfig("1-1-8"), exclude="*.output.dense")
    narrow, wide = 4 * 384 * 384, 2 * 384 * 1536
    assert bitops(model) == 8 * (narrow - 384 * 384 + wide // 2) + 1024 * (384 * 384 + wide // 2)


def test_parameters_of_a_low_rank_term():
    assert report("1-1-8", lora_rank=1)["parameters"] == 109_482_240 + 12 * 13_824


@pytest.mark.parametrize(
    "config",
    [
        QuantConfig("1-1-8"),
        QuantConfig("2-2-8", lora_rank=1),
        QuantConfig("8-8 8-2-3", recipe="xtc"),
        QuantConfig("2-4-4", recipe="adaqat"),
    ],
    ids=str,
)
def test_freezing_changes_no_number(tiny_bert, config):
    model = quantize(tiny_bert(), config)
    before = model_size(model), model_size(model, "fp16"), bitops(model)
    freeze(model)
    assert (model_size(model), model_size(model, "fp16"), bitops(model)) == before


def test_a_model_of_ones_own(tmp_path):
    own = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
    own.save_pretrained(tmp_path)
    report = cost_report(str(tmp_path), "1-1-8")
    assert report["parameters"] == sum(weight.numel() for weight in BertModel(own).parameters())
    assert report["packed_mib"] == model_size(quantize(BertModel(own), QuantConfig("1-1-8"))).packed_mib
    assert cost_report(str(tmp_path), "1-1-8", layers=1)["bitops"] < report["bitops"]
    own.num_hidden_layers = 2
    own.save_pretrained(tmp_path)
    assert cost_report(str(tmp_path), "1-1-8")["parameters"] < report["parameters"], "read again"
    with pytest.raises(ValueError, match="layers is 3, expected an integer from 1 to 2"):
        cost_report(str(tmp_path), "1-1-8", layers=3)
    RobertaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model_type of .* is 'roberta', expected one of 'bert'"):
        cost_report(str(tmp_path), "1-1-8")


def test_errors():
    with pytest.raises(ValueError, match="rest is 'int8', expected one of 'fp32', 'fp16'"):
        model_size(architecture("minilm-l6", 1), rest="int8")
    with pytest.raises(ValueError, match="Linear holds 0 encoders"):
        model_size(torch.nn.Linear(2, 2))
    with pytest.raises(
        ValueError, match="architecture is 'gpt', expected one of 'bert-base', 'minilm-l6', or a folder"
    ):
        architecture("gpt")
    for layers in (0, 13, 2.0, True):
        with pytest.raises(ValueError, match=r"layers is .*, expected an integer from 1 to 12 for bert-base"):
            architecture("bert-base", layers)

import copy
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrizations, prune
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from xtcq import bitops, model_size, reduce_layers, save_packed
from xtcq.quantization import (
    LAYER_LINEARS,
    QuantConfig,
    architecture,
    check_unchanged,
    freeze,
    quantization_map,
    quantize,
    quantized_layers,
)

CONFIGS = [
    QuantConfig("1-1-8"),
    QuantConfig("2-2-8", lora_rank=2),
    QuantConfig("4-8 4-2-8"),
    QuantConfig("2-2-8", recipe="ternarybert"),
    QuantConfig("2-4-4", recipe="adaqat"),
    QuantConfig("1-8 1-8-2", recipe="adaqat"),
    QuantConfig("2-2-8", recipe="binarybert"),
]
LINEARS = {f"bert.encoder.layer.{i}.{name}" for i in range(2) for name in LAYER_LINEARS}
WORDS = "bert.embeddings.word_embeddings"
ATTENTIONS = {f"bert.encoder.layer.{i}.attention.self" for i in range(2)}


@pytest.fixture(params=CONFIGS, ids=lambda config: f"{config.recipe} {config.precision}")
def config(request):
    return request.param


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("xtc", LINEARS | {WORDS}),
        ("ternarybert", LINEARS | {WORDS, "bert.pooler.dense"} | ATTENTIONS),
        ("adaqat", LINEARS | {WORDS, "bert.pooler.dense"}),
    ],
)
def test_a_recipe_quantizes_its_modules_and_no_other(tiny_bert, recipe, expected):
    model = quantize(tiny_bert(), QuantConfig("2-2-8", recipe=recipe))
    assert set(quantization_map(model)) == expected
    assert type(model.classifier) is nn.Linear
    assert model.config._attn_implementation == "xtcq"


def test_segment_and_position_tables_are_quantized_when_asked(tiny_bert):
    tables = {
        name: entry["weight"]["bits"]
        for name, entry in quantization_map(quantize(tiny_bert(), QuantConfig("2-8 4-3-2"))).items()
        if entry["kind"] == "embedding"
    }
    assert tables == {WORDS: 4, "bert.embeddings.token_type_embeddings": 3, "bert.embeddings.position_embeddings": 2}


def test_a_state_dict_of_the_floating_point_model_loads(tiny_bert, config):
    original = tiny_bert().state_dict()
    model = quantize(tiny_bert(), config)
    result = model.load_state_dict(original, strict=False)
    assert not result.unexpected_keys
    assert all(
        key.rsplit(".", 1)[1] in ("step", "initialized", "width", "bounds", "lora_u", "lora_v")
        for key in result.missing_keys
    )
    if config.recipe in ("xtc", "ternarybert") and not config.lora_rank:
        model.load_state_dict(original)


def test_every_parameter_learns(tiny_bert, padded_batch, config):
    model = quantize(tiny_bert(), config).train()
    output = model(**padded_batch, labels=torch.tensor([0, 1, 0]), output_attentions=True)
    (output.loss + sum(scores.square().mean() for scores in output.attentions)).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_frozen_model_gives_the_same_output_to_the_bit(tiny_bert, padded_batch, config):
    model = quantize(tiny_bert(), config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        before = model(**padded_batch, output_hidden_states=True, output_attentions=True)
        settings = quantization_map(model)
        assert freeze(model) is model
        after = model(**padded_batch, output_hidden_states=True, output_attentions=True)
    assert all(layer.is_frozen for layer in quantized_layers(model).values())
    assert not any(key.endswith(".weight_quantizer.step") for key in model.state_dict())
    assert torch.equal(before.logits, after.logits)
    for left, right in zip(
        before.hidden_states + before.attentions, after.hidden_states + after.attentions, strict=True
    ):
        assert torch.equal(left, right)
    for name, entry in quantization_map(model).items():
        assert entry == settings[name] | {"frozen": entry["kind"] != "attention"}


def test_a_weight_in_floating_point_stays_one(tiny_bert, padded_batch):
    model = quantize(tiny_bert(), QuantConfig("32-32-8")).eval()
    before = model(**padded_batch).logits
    assert torch.equal(freeze(model)(**padded_batch).logits, before)
    assert not any(layer.is_frozen for layer in quantized_layers(model).values())
    assert quantization_map(model)["bert.encoder.layer.0.output.dense"]["weight"] is None


def test_32_bits_everywhere_replace_nothing(tiny_bert, padded_batch):
    plain = tiny_bert().eval()
    model = quantize(tiny_bert(), QuantConfig("32-32-32")).eval()
    assert quantization_map(freeze(model)) == {}
    torch.testing.assert_close(model(**padded_batch).logits, plain(**padded_batch).logits, rtol=0, atol=1e-6)


def test_quantized_model_can_be_copied(tiny_bert, padded_batch, config):
    model = quantize(tiny_bert(), config).eval()
    expected = model(**padded_batch).logits
    twin = copy.deepcopy(model)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.zero_()
    assert torch.equal(twin(**padded_batch).logits, expected)
    assert twin.quant_config == config


def test_the_meta_device_has_the_shapes_of_every_state(config):
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    states = []
    for device in ("meta", "cpu"):
        with torch.device(device):
            model = BertModel(BertConfig(vocab_size=50, **shape))
        fake = quantize(model, config).state_dict()
        states.append([{k: (t.shape, t.dtype) for k, t in s.items()} for s in (fake, freeze(model).state_dict())])
        assert {tensor.device.type for tensor in (*fake.values(), *model.state_dict().values())} == {device}
    assert states[0] == states[1]


def test_include_is_the_list_of_what_is_quantized(tiny_bert):
    model = quantize(tiny_bert(), QuantConfig("1-1-8"), include=["*.layer.0.*", "classifier"])
    assert set(quantization_map(model)) == {name for name in LINEARS if ".layer.0." in name} | {"classifier"}


def test_exclude_leaves_modules_alone(tiny_bert):
    model = quantize(tiny_bert(), QuantConfig("1-1-8"), exclude="*embeddings")
    assert set(quantization_map(model)) == LINEARS
    model = quantize(tiny_bert(), QuantConfig("1-1-8"), include="bert.encoder.*", exclude=["*.query", "*.key"])
    assert not any(name.endswith(("query", "key")) for name in quantization_map(model))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"include": "*.crossattention.*"},
            r"include pattern '\*\.crossattention\.\*' matches none of the \d+ modules",
        ),
        ({"include": ["*.query", "quary"]}, "include pattern 'quary' matches none.*bert.embeddings.word_embeddings"),
        ({"exclude": "classifier"}, "exclude pattern 'classifier' matches none of the 15 modules"),
        ({"exclude": "*"}, "precision '1-1-8' with recipe 'xtc' quantizes nothing of BertForSequenceClassification"),
        ({"include": "*.position_embeddings"}, "include and exclude leave no module that has fewer than 32 bits"),
    ],
)
def test_patterns_that_do_nothing_are_errors(tiny_bert, arguments, message):
    with pytest.raises(ValueError, match=message):
        quantize(tiny_bert(), QuantConfig("1-1-8"), **arguments)


def test_quantizers_of_operands_go_where_the_model_is():
    model = quantize(architecture("minilm-l6", layers=1).eval(), QuantConfig("1-1-8", recipe="binarybert"))
    operands = model.encoder.layer[0].attention.self.operand_quantizers
    assert {bounds.device.type for bounds in operands.parameters()} == {"meta"}
    assert not any(quantizer.training for quantizer in operands.values())


def test_a_quantized_layer_knows_what_it_costs(tiny_bert):
    model = quantize(tiny_bert(), QuantConfig("2-8 1-32-32", recipe="binarybert"))
    layers = quantized_layers(model)
    query, words = layers["bert.encoder.layer.0.attention.self.query"], layers[WORDS]
    assert (query.kind, query.bits, query.input_bits, query.numel) == ("linear", 2, 8, 32 * 32)
    assert (query.packed_bytes, query.scales) == (-(-32 * 32 // 5), 1)
    # The table is two binary ones: a scale a row of each, and nothing is multiplied by it.
    assert (words.kind, words.bits, words.input_bits, words.numel) == ("split", 1, 0, 2 * 101 * 32)
    assert (words.packed_bytes, words.scales) == (2 * 101 * 32 // 8, 2 * 101)
    for name, layer in layers.items():
        costs = (layer.bits, layer.numel, layer.packed_bytes, layer.scales, layer.input_bits)
        assert layer.freeze() is layer and layer.is_frozen, name
        assert costs == (layer.bits, layer.numel, layer.packed_bytes, layer.scales, layer.input_bits)


def test_models_that_cannot_be_quantized(tiny_bert):
    with pytest.raises(ValueError, match="ModuleList holds 2 encoders"):
        quantize(nn.ModuleList([tiny_bert(), tiny_bert()]), QuantConfig("1-1-8"))
    model = quantize(tiny_bert(), QuantConfig("1-1-8"))
    for _ in range(2):
        with pytest.raises(ValueError, match="already quantized .*: start again from the floating-point model"):
            quantize(model, QuantConfig("2-2-8"))
        model = freeze(model) if not hasattr(model.bert.embeddings.word_embeddings, "codes") else model


def subclassed(layer):
    layer.__class__ = type("OwnLinear", (nn.Linear,), {})
    return layer


class OtherTensor(torch.Tensor):
    """Weights that another library holds in its own way."""


def held_otherwise(layer):
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(OtherTensor))
    return layer


def pruned(layer):
    return prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pruned, r"has a weight that is computed.*prune.remove\(layer, 'weight'\)"),
        (parametrizations.weight_norm, "has a weight that is computed.*remove_parametrizations"),
        (nn.utils.weight_norm, "has a weight that is computed.*remove_weight_norm"),
        (nn.Sequential, "is a .*Sequential .* expected torch's own Linear or Embedding .*: merge"),
        (held_otherwise, "is a .*Linear with a weight of type OtherTensor, .* another library"),
        (subclassed, "is a .*OwnLinear with .* expected torch's own Linear or Embedding"),
    ],
)
def test_a_layer_that_is_not_plain_is_named_and_nothing_is_replaced(tiny_bert, change, message):
    """The last layer of the model: all others could have been replaced before."""
    model, name = tiny_bert(), "bert.encoder.layer.1.output.dense"
    plain = model.get_submodule(name)
    model.set_submodule(name, change(plain))
    before = dict(model.named_modules())
    with pytest.raises(ValueError, match=f"{name} {message}"):
        quantize(model, QuantConfig("2-2-8", "ternarybert"))
    assert dict(model.named_modules()) == before and model.config._attn_implementation != "xtcq"
    assert name not in quantization_map(quantize(model, QuantConfig("2-2-8", "ternarybert"), exclude=name))


@pytest.mark.parametrize("verb", [check_unchanged, freeze])
def test_an_encoder_that_was_quantized_inside_its_model(tiny_bert, verb):
    """A packed folder of it would say that nothing is quantized, and load as nothing."""
    model = tiny_bert()
    quantize(model.bert, QuantConfig("1-1-8"))
    with pytest.raises(ValueError, match="bert of BertForSequenceClassification was quantized by itself.* the whole"):
        verb(model)
    whole = torch.nn.DataParallel(quantize(tiny_bert(), QuantConfig("1-1-8")))
    with pytest.raises(ValueError, match="the model is wrapped in DataParallel: give model.module"):
        verb(whole)


def shared_layer(model):
    model.bert.encoder.layer[1] = model.bert.encoder.layer[0]
    return "attention.self.query"


def shared_weight(model):
    first, second = (model.bert.encoder.layer[i].output.dense for i in (0, 1))
    second.weight = first.weight
    return "output.dense"


@pytest.mark.parametrize("share", [shared_layer, shared_weight])
def test_layers_that_share_a_weight_are_named(tiny_bert, share):
    model = tiny_bert()
    name = share(model)
    names = [f"bert.encoder.layer.{i}.{name}" for i in (1, 0)]
    with pytest.raises(ValueError, match=f"^{names[0]} shares its weight with {names[1]}, and each would be"):
        quantize(model, QuantConfig("1-1-8"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_formats_than_float32_are_refused(tiny_bert, dtype):
    model = tiny_bert().to(dtype)
    with pytest.raises(ValueError, match=f"word_embeddings.weight of .* is {dtype}, expected torch.float32: call"):
        quantize(model, QuantConfig("1-1-8"))
    assert quantize(model.float(), QuantConfig("1-1-8"))


def test_a_buffer_that_says_another_width_than_is_computed_with(tiny_bert):
    model = quantize(tiny_bert(), QuantConfig("4-4-4", "adaqat"))
    layer = model.bert.encoder.layer[0].output.dense
    layer.weight_quantizer.width.fill_(2)
    with pytest.raises(ValueError, match="computes at 4 bits, and its buffer says 2.*load_state_dict"):
        freeze(model)
    model.load_state_dict(model.state_dict())
    assert freeze(model) and layer.bits == 2


SIZES = {"vocab_size": 101, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 64, "max_position_embeddings": 64}


@pytest.mark.filterwarnings("ignore:this model can be quantized")
@pytest.mark.parametrize("recipe", ["xtc", "ternarybert", "adaqat"])
@pytest.mark.parametrize(
    ("kind", "config", "prefix"),
    [
        (RobertaForSequenceClassification, RobertaConfig(**SIZES), "roberta"),
        (ElectraForSequenceClassification, ElectraConfig(**SIZES, embedding_size=16), "electra"),
    ],
)
def test_encoders_with_the_same_layers(kind, config, prefix, recipe, padded_batch):
    torch.manual_seed(0)
    model = kind(copy.deepcopy(config)).eval()
    with torch.no_grad():
        plain = model(**padded_batch).logits
    quantize(model, QuantConfig("2-2-8", recipe))
    expected = {name.replace("bert.", f"{prefix}.", 1) for name in LINEARS | {WORDS}}
    expected |= {name.replace("bert.", f"{prefix}.", 1) for name in ATTENTIONS} if recipe == "ternarybert" else set()
    assert set(quantization_map(model)) == expected
    weight = model.get_submodule(f"{prefix}.encoder.layer.1.output.dense")
    output = model(**padded_batch, output_attentions=True)
    assert len(output.attentions) == 2 and not torch.equal(output.logits, plain)
    output.logits.sum().backward()
    assert weight.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert torch.equal(freeze(model)(**padded_batch).logits, output.logits)
    assert bitops(model) == 2 * (4 * 32 * 32 + 2 * 32 * 64) * 2 * 8


@pytest.mark.parametrize(
    "model",
    [
        DistilBertModel(DistilBertConfig(vocab_size=9, dim=8, n_layers=1, n_heads=1, hidden_dim=8)),
        AlbertModel(AlbertConfig(vocab_size=9, embedding_size=8, hidden_size=8, num_attention_heads=1)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_other_encoders_are_refused_by_every_verb(model):
    message = f"{type(model).__name__} holds 0 encoders with BERT's layers, expected one: pass a BertModel, Rob"
    for verb in (lambda m: quantize(m, QuantConfig("1-1-8")), model_size, bitops, lambda m: reduce_layers(m, [0])):
        with pytest.raises(ValueError, match=message):
            verb(model)


def test_what_a_later_step_refuses_is_said_at_once(tiny_bert):
    sizes = BertConfig(**SIZES)
    with pytest.warns(
        UserWarning, match="trained and frozen, and no more: .*BertForTokenClassification cannot be pack"
    ):
        quantize(BertForTokenClassification(sizes), QuantConfig("1-1-8"))
    named_alike = type("BertForSequenceClassification", (BertForSequenceClassification,), {})
    with pytest.warns(
        UserWarning, match=r"test_convert\.BertForSequenceClassification cannot be packed: use transformers"
    ):
        quantize(named_alike(sizes), QuantConfig("1-1-8"))
    with pytest.warns(UserWarning, match="hidden_act is 'silu' and is_decoder is False, and integer"):
        quantize(BertModel(BertConfig(**SIZES, hidden_act="silu")), QuantConfig("1-1-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantize(tiny_bert(), QuantConfig("1-1-8"))


@pytest.mark.parametrize("name", ["bert.encoder.layer.1.output.dense", "bert.encoder.layer.0.attention"])
def test_a_module_that_was_replaced_afterwards_is_named(tiny_bert, name, tmp_path):
    for convert in (lambda model: model, freeze):
        model = convert(quantize(tiny_bert(), QuantConfig("2-2-8", "ternarybert")))
        model.set_submodule(name, tiny_bert().get_submodule(name))
        with pytest.raises(ValueError, match=f"converted were replaced or removed, {name}.* first: change"):
            save_packed(model, tmp_path / "m") if convert is freeze else freeze(model)


def test_a_head_may_be_replaced_afterwards(tiny_bert):
    model = quantize(tiny_bert(), QuantConfig("2-2-8"))
    model.classifier = nn.Linear(32, 2)
    assert freeze(model)


@pytest.mark.parametrize("convert", [lambda model: model, freeze], ids=["fake", "frozen"])
def test_save_pretrained_warns_that_it_keeps_no_quantizers(tiny_bert, convert, tmp_path):
    model = copy.deepcopy(convert(quantize(tiny_bert(), QuantConfig("1-1-8"))))
    with pytest.warns(UserWarning, match=r"from_pretrained will build a BertForSeq.*: use save_packed\(freeze"):
        model.save_pretrained(tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save_pretrained(tmp_path / "checkpoint-4")  # a Trainer's, which it loads into the model itself
        quantize(tiny_bert(), QuantConfig("32-32-32")).save_pretrained(tmp_path / "float")


def test_a_copy_saves_itself(tiny_bert, tmp_path):
    model = quantize(tiny_bert(), QuantConfig("1-1-8"))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            other.classifier.bias.fill_(7)
        other.save_pretrained(tmp_path / "checkpoint-1")
        assert (load_file(tmp_path / "checkpoint-1" / "model.safetensors")["classifier.bias"] == 7).all()


def test_a_frozen_model_is_unpickled_in_another_process(tiny_bert, padded_batch, tmp_path):
    model = freeze(quantize(tiny_bert().eval(), QuantConfig("2-2-8", "ternarybert")))
    torch.save((model, padded_batch, model(**padded_batch).logits), tmp_path / "model.pt")
    code = (
        "import sys, torch; m, x, y = torch.load(sys.argv[1], weights_only=False); print(torch.equal(m(**x).logits, y))"
    )
    found = subprocess.run([sys.executable, "-c", code, tmp_path / "model.pt"], capture_output=True, text=True)
    assert found.stdout.strip() == "True", found.stderr


def test_freeze_errors(tiny_bert):
    with pytest.raises(ValueError, match=r"not quantized: call quantize\(model, config\) first"):
        freeze(tiny_bert())
    model = freeze(quantize(tiny_bert(), QuantConfig("1-1-8")))
    with pytest.raises(ValueError, match=r"already frozen \(bert\.embeddings\.word_embeddings\): freeze it once"):
        freeze(model)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
@pytest.mark.parametrize(
    ("module", "key"), [("bert.encoder.layer.1.intermediate.dense", "weight"), ("classifier", "bias")]
)
def test_non_finite_values_are_named(tiny_bert, module, key, bad):
    model = quantize(tiny_bert(), QuantConfig("2-2-8"))
    with torch.no_grad():
        getattr(model.get_submodule(module), key).view(-1)[1] = bad
    with pytest.raises(ValueError, match=f"^{module}: 1 of .* values of '{key}' are NaN or infinite.*learning rate"):
        freeze(model)
    assert not model.bert.encoder.layer[0].output.dense.is_frozen


def test_a_rank_above_the_matrix_is_refused(tiny_bert):
    assert quantize(tiny_bert(), QuantConfig("1-1-8", lora_rank=32))
    with pytest.raises(
        ValueError, match=r"lora_rank is 33 but bert.encoder.* is a matrix of \(32, 32\): give a rank of"
    ):
        quantize(tiny_bert(), QuantConfig("1-1-8", lora_rank=33))
    model = tiny_bert()
    with pytest.raises(ValueError, match=r"lora_rank is 4 but classifier is a matrix of \(2, 32\)"):
        quantize(model, QuantConfig("1-1-8", lora_rank=4), include=["*query", "classifier"])
    assert quantize(model, QuantConfig("1-1-8", lora_rank=4), include="*query")  # nothing had been replaced

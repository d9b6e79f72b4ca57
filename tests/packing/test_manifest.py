"""What load_packed refuses."""

import json
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.fuzzing import altered
from xtcq.packing import PackedModelError, load_packed, save_packed, skeleton
from xtcq.packing.manifest import _NO_DIGEST, Manifest, _sha256, describe_file

WEIGHTS, MAP, CONFIG = "packed.safetensors", "quantization_map.json", "config.json"
QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.fixture
def packed(frozen_bert, word_tokenizer, tmp_path):
    return save_packed(frozen_bert(), tmp_path / "m", tokenizer=word_tokenizer)


def sign(folder, **changes):
    """Write the map anew, with changes and with digests that fit: what only an honest digest keeps out."""
    fields = json.loads((folder / MAP).read_text())
    fields = {key: fields[key] for key in ("precision", "recipe", "lora_rank", "rest", "modules")}
    listed = [path for path in sorted(folder.iterdir()) if path.name not in (MAP, "README.md")]
    fields["files"] = {path.name: describe_file(path) for path in listed}
    (folder / MAP).write_text(Manifest(**fields | changes).to_json())


def sign_text(folder, fields):
    """Write a map whose digest fits, whatever it says."""
    text = json.dumps(fields | {"digest": _NO_DIGEST})
    (folder / MAP).write_text(text.replace(_NO_DIGEST, _sha256(text.encode()), 1))


def change_tensors(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / WEIGHTS)
    sign(folder)


def change_config(folder, **fields):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | fields))
    sign(folder)


def change_module(folder, name, **fields):
    modules = json.loads((folder / MAP).read_text())["modules"]
    modules[name] = modules.get(name, {}) | fields
    sign(folder, modules=modules)


@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from([WEIGHTS, MAP, CONFIG, "tokenizer.json"]), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_flipped_bit_is_found_wherever_it_is(packed, name, place, bit):
    path = packed / name
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        with pytest.raises(PackedModelError, match=name):
            load_packed(packed)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "tokenizer.json"])
def test_truncated_and_missing_files(packed, name):
    whole = (packed / name).read_bytes()
    (packed / name).write_bytes(whole[:-1])
    with pytest.raises(PackedModelError, match=f"{name} has {len(whole) - 1} bytes, expected {len(whole)}: it is"):
        load_packed(packed)
    (packed / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing. Copy or download m again"):
        load_packed(packed)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": "xtcq-packed"}'])
def test_a_map_that_is_something_else(packed, content):
    (packed / MAP).write_text(content)
    with pytest.raises(PackedModelError, match="quantization_map.json is no quantization map"):
        load_packed(packed)


def test_another_version(packed):
    text = (packed / MAP).read_text()
    (packed / MAP).write_text(text.replace('"version": 1', '"version": 99'))
    with pytest.raises(PackedModelError, match=r"'xtcq-packed' version 99, and this xtcq reads .* version 1: install"):
        load_packed(packed)
    (packed / MAP).write_text(text.replace('"xtcq-packed"', '"gguf"'))
    with pytest.raises(PackedModelError, match="says format 'gguf'"):
        load_packed(packed)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "a\\b", "C:x", ".hidden", ""])
def test_a_path_outside_of_the_folder(packed, name):
    files = Manifest.read(packed).files
    sign(packed, files=files | {name: files[CONFIG]})
    with pytest.raises(PackedModelError, match="expected a plain name in the same folder"):
        load_packed(packed)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


def test_pickles_are_refused(packed):
    (packed / WEIGHTS).rename(packed / "kept")
    (packed / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileNotFoundError, match="pytorch_model.bin is a pickle, which can run any code and is never"):
        load_packed(packed)
    (packed / "pytorch_model.bin").rename(packed / WEIGHTS)
    (packed / "kept").unlink()
    sign(packed)
    with pytest.raises(PackedModelError, match="packed.safetensors is not a safetensors file"):
        load_packed(packed)
    files = Manifest.read(packed).files
    sign(packed, files=files | {"model.pt": files[CONFIG]})
    with pytest.raises(PackedModelError, match="names the file 'model.pt', a pickle"):
        load_packed(packed)


def test_a_folder_that_holds_no_packed_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no quantization_map.json, so it holds no packed model"):
        load_packed(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no quantization_map.json"):
        load_packed(tmp_path / "missing")


CONFIGS = [
    ({"hidden_size": 40}, r"codes of shape .* and torch.uint8, expected \("),
    ({"num_hidden_layers": 1}, "'bert.encoder.layer.1.attention.self.query' matches none"),
    ({"num_hidden_layers": 3}, "lacks 'bert.encoder.layer.2.attention.output.LayerNorm.bias'"),
    ({"id2label": {"0": "a", "1": "b"}}, r"classifier.weight of shape \(3, 36\) and torch.float32, expected \(2, 36\)"),
    ({"architectures": ["BertForMaskedLM"]}, r"does not describe one of BertModel, .*KeyError\('BertForMaskedLM'"),
    ({"architectures": []}, "does not describe one of BertModel"),
    ({"architectures": ["BertModel"]}, "'bert.embeddings.word_embeddings' matches none"),
    ({"num_attention_heads": 5}, "does not describe one of BertModel, .*multiple of the number of attention"),
    ({"num_attention_heads": 0}, "does not describe one of BertModel"),
]
MODULES = [
    (
        QUERY,
        {"weight": {"quantizer": "nf4", "bits": 1}},
        f"says weight .*nf4.* of module '{QUERY}', where recipe 'xtc'",
    ),
    (QUERY, {"weight": {"quantizer": "ternary", "bits": 2}}, f"the weight of {QUERY} .*BinaryQuantizer.* at 1 bits"),
    (QUERY, {"weight": None}, f"the weight of {QUERY} is quantized by BinaryQuantizer"),
    (QUERY, {"input": {"quantizer": "dynamic", "bits": 99}}, f"the input of {QUERY} .*DynamicQuantizer.* at 8 bits"),
    (QUERY, {"input": {"quantizer": "lsq", "bits": 8}}, f"says input .*lsq.* of module '{QUERY}', .*'dynamic'"),
    (QUERY, {"lora_rank": 2}, f"says lora_rank 2 of module '{QUERY}', where recipe 'xtc' at 1-1-8 has 0"),
    (QUERY, {"kind": "embedding"}, f"says kind 'embedding' of module '{QUERY}', where .* has 'linear'"),
    (QUERY, {"frozen": False}, f"says frozen False of module '{QUERY}'"),
    (QUERY, {"wings": 2}, "says wings 2 of"),
    ("bert.pooler.dense", {"kind": "linear"}, "the weight of bert.pooler.dense is quantized by BinaryQuantizer"),
    ("bert.encoder.layer.7", {"kind": "linear"}, "'bert.encoder.layer.7' matches none"),
]
MAPS = [
    ({"precision": "9-9-9"}, "9"),
    ({"recipe": "gptq"}, "gptq"),
    ({"rest": "fp8"}, "fp8"),
    ({"rest": "fp16"}, "float16"),
    ({"rest": ["fp32"]}, r"says rest \['fp32'\], expected 'fp32' or 'fp16'"),
    ({"files": [CONFIG]}, "does not hold the fields of version 1"),
    ({"files": {CONFIG: {"bytes": 1}}}, "fields of version 1 .config.json has bytes, expected bytes and sha256"),
]


def bias(tensors):
    return tensors["classifier.bias"]


TENSORS = [
    (lambda t: t.pop("classifier.bias"), "lacks 'classifier.bias'"),
    (lambda t: t.update(extra=torch.zeros(1)), "holds, beyond what the model has, 'extra'"),
    (lambda t: bias(t).fill_(float("nan")), "classifier.bias: it holds NaN or infinity"),
    (
        lambda t: t.update({"classifier.bias": bias(t).double()}),
        "classifier.bias of shape .* and torch.float64, expected .* and torch.float32",
    ),
    (
        lambda t: t.update({f"{QUERY}.codes": t[f"{QUERY}.codes"][:-1]}),
        r"query.codes of shape \(161,\) and torch.uint8, expected \(162,\)",
    ),
]
CHANGES = [
    *((lambda folder, fields=fields: change_config(folder, **fields), message) for fields, message in CONFIGS),
    *((lambda folder, c=(name, fields): change_module(folder, c[0], **c[1]), said) for name, fields, said in MODULES),
    *((lambda folder, fields=fields: sign(folder, **fields), message) for fields, message in MAPS),
    *((lambda folder, change=change: change_tensors(folder, change), message) for change, message in TENSORS),
    *((lambda folder, name=name: leave_out(folder, "files", name), f"not list {name}") for name in (WEIGHTS, CONFIG)),
    (lambda folder: leave_out(folder, "modules", QUERY), f"beyond what the model has, '{QUERY}.codes'"),
    (
        lambda folder: sign_text(folder, json.loads((folder / MAP).read_text()) | {"comment": "new"}),
        "does not hold the fields of version 1 .*comment",
    ),
]


def leave_out(folder, field, name):
    left = getattr(Manifest.read(folder), field)
    del left[name]
    sign(folder, **{field: left})


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_what_does_not_fit_together(packed, change, message):
    change(packed)
    with pytest.raises(PackedModelError, match=message):
        load_packed(packed)


def test_bytes_that_no_trits_make(frozen_bert, tmp_path):
    folder = save_packed(frozen_bert("2-2-8"), tmp_path / "m")
    change_tensors(folder, lambda tensors: tensors[f"{QUERY}.codes"].fill_(255))
    with pytest.raises(PackedModelError, match="query.codes: byte 255 is not made of five trits"):
        load_packed(folder)


def test_code_of_the_folder_is_never_asked_for(packed):
    change_config(packed, model_type="evil")
    with pytest.raises(PackedModelError, match="model_type is 'evil', expected one of 'bert'"):
        load_packed(packed)
    change_config(packed, model_type="bert")
    assert load_packed(packed).num_labels == 3
    tokenizer = json.loads((packed / "tokenizer_config.json").read_text())
    (packed / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"auto_map": {"AutoTokenizer": "evil.T"}}))
    sign(packed)
    with pytest.raises(PackedModelError, match="tokenizer_config.json says auto_map, which asks for code"):
        load_packed(packed)


def test_an_attention_of_the_configuration_is_not_looked_for(packed):
    change_config(packed, _attn_implementation="somebody/kernel", _attn_implementation_internal="somebody/kernel")
    assert load_packed(packed).num_labels == 3


def test_a_tokenizer_that_is_added_later(frozen_bert, word_tokenizer, tmp_path):
    folder = save_packed(frozen_bert(), tmp_path / "m")
    word_tokenizer.save_pretrained(folder)
    with pytest.raises(PackedModelError, match="tokenizer.json is not listed in quantization_map.json.*remove it, or"):
        load_packed(folder)


@settings(max_examples=60, deadline=5000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([MAP, CONFIG]), st.data())
def test_a_signed_value_that_nobody_wrote_is_refused_or_makes_another_model(packed, padded_batch, name, data):
    whole = {file: (packed / file).read_text() for file in (MAP, CONFIG)}
    changed = data.draw(altered(json.loads(whole[name])))
    if name == CONFIG:
        (packed / CONFIG).write_text(json.dumps(changed))
        changed = json.loads(whole[MAP])
        changed["files"][CONFIG] = describe_file(packed / CONFIG)
    sign_text(packed, changed)
    try:
        model = load_packed(packed)
    except (PackedModelError, FileNotFoundError):
        return
    finally:
        for file, text in whole.items():
            (packed / file).write_text(text)
    with torch.no_grad():
        assert model(**padded_batch).logits.isfinite().all()


@pytest.mark.parametrize(
    "field",
    ["num_hidden_layers", "hidden_size", "vocab_size", "max_position_embeddings", "intermediate_size", "num_labels"],
)
def test_a_size_that_the_weights_do_not_have_is_refused_before_a_model_is_built(packed, field, monkeypatch):
    monkeypatch.setattr(skeleton, "MODELS", dict.fromkeys(skeleton.MODELS, lambda *_: pytest.fail("a model is built")))
    change_config(packed, **{field: 10**8 * 2})
    with pytest.raises(PackedModelError, match=f"{field}.* is [0-9]*0, expected an integer from 1 to"):
        load_packed(packed)


def test_the_card_may_be_edited_and_files_added(packed):
    (packed / "README.md").write_text("# My model")
    (packed / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    assert load_packed(packed).num_labels == 3

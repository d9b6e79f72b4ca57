"""Packed folders that were damaged, or made by somebody who means no good: refused in words, at once, in little memory.

The seeds are fixed. What has digests that fit may be a model, another one: then it computes finite numbers.
"""

import json
import random
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.fuzzing import altered, bounded, damaged
from xtcq.packing import PackedModelError, load_packed, save_packed
from xtcq.packing.manifest import _NO_DIGEST, CONFIG_FILE, MAP_FILE, WEIGHTS_FILE, _sha256, describe_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and time are those of Linux")
DOCUMENTED = (PackedModelError, FileNotFoundError)


@pytest.fixture
def folder(frozen_bert, word_tokenizer, tmp_path, request):
    which = {"xtc": {"lora_rank": 2}, "adaqat": {"precision": "4-4-4", "recipe": "adaqat", "bits": (1, 2, 5)}}
    return save_packed(frozen_bert(**which[request.param]), tmp_path / "m", tokenizer=word_tokenizer)


both = pytest.mark.parametrize("folder", ["xtc", "adaqat"], indirect=True)


def sign(folder, fields):
    """Write a map whose digest fits, whatever it says."""
    text = json.dumps(fields | {"digest": _NO_DIGEST})
    (folder / MAP_FILE).write_text(text.replace(_NO_DIGEST, _sha256(text.encode()), 1))


def outcome(folder, batch):
    """None where the folder is refused as documented, else the model's outputs."""
    try:
        with bounded(seconds=5, mebibytes=600):
            model = load_packed(folder)
    except DOCUMENTED:
        return None
    with torch.no_grad():
        output = model(**batch)
    return output.logits if hasattr(output, "logits") else output.last_hidden_state


@both
def test_every_damage_is_refused(folder):
    rng, accepted = random.Random(16), []
    names = sorted(path.name for path in folder.iterdir() if path.name != "README.md")
    for number in range(200):
        path = folder / rng.choice(names)
        whole = path.read_bytes()
        now = damaged(whole, rng)
        if now == whole:
            continue
        path.write_bytes(now)
        try:
            with bounded(seconds=5, mebibytes=600):
                load_packed(folder)
            accepted.append((number, path.name))
        except DOCUMENTED:
            pass
        path.write_bytes(whole)
    assert accepted == []
    load_packed(folder)


@both
def test_a_map_or_configuration_that_is_signed_and_wrong(folder, padded_batch):
    rng = random.Random(17)
    whole = {name: (folder / name).read_text() for name in (MAP_FILE, CONFIG_FILE)}
    for number in range(60):
        fields = json.loads(whole[MAP_FILE])
        if rng.random() < 0.5:
            fields = altered(fields, rng)
        else:
            (folder / CONFIG_FILE).write_text(json.dumps(altered(json.loads(whole[CONFIG_FILE]), rng)))
            fields["files"][CONFIG_FILE] = describe_file(folder / CONFIG_FILE)
        sign(folder, fields)
        try:
            found = outcome(folder, padded_batch)
        except Exception as error:
            raise AssertionError(f"number {number}") from error
        assert found is None or bool(found.isfinite().all()), number
        for name, text in whole.items():
            (folder / name).write_text(text)


@both
def test_tensors_that_are_signed_and_wrong(folder, padded_batch):
    rng, fields = random.Random(18), json.loads((folder / MAP_FILE).read_text())
    whole = load_file(folder / WEIGHTS_FILE)
    values = {"nan": float("nan"), "inf": float("inf"), "huge": 3e38, "negative": -1.0, "zero": 0.0}
    for number in range(30):
        tensors = dict(whole)
        kind = rng.choice((*values, "shape", "dtype", "missing", "more", "bytes"))
        name = rng.choice([name for name in sorted(whole) if kind not in values or whole[name].is_floating_point()])
        value = tensors[name].clone()
        if kind in values:
            value.flatten()[0] = values[kind]
        tensors[name] = {"shape": value[..., None], "dtype": value.double()}.get(kind, value).contiguous()
        if kind == "missing":
            del tensors[name]
        elif kind == "more":
            tensors["x"] = torch.zeros(1)
        save_file(tensors, folder / WEIGHTS_FILE)
        if kind == "bytes":
            (folder / WEIGHTS_FILE).write_bytes(damaged((folder / WEIGHTS_FILE).read_bytes(), rng))
        fields["files"][WEIGHTS_FILE] = describe_file(folder / WEIGHTS_FILE)
        sign(folder, fields)
        try:
            found = outcome(folder, padded_batch)
        except Exception as error:
            raise AssertionError(f"number {number}, {kind} in {name}") from error
        assert found is None or kind in ("huge", "negative", "zero", "bytes"), f"number {number}, {kind} in {name}"


@pytest.mark.parametrize("folder", ["xtc"], indirect=True)
@pytest.mark.parametrize(
    "field",
    ["num_hidden_layers", "hidden_size", "vocab_size", "max_position_embeddings", "intermediate_size", "id2label"],
)
def test_sizes_that_the_weights_do_not_have_cost_neither_memory_nor_time(folder, field):
    config = json.loads((folder / CONFIG_FILE).read_text())
    config |= {"num_labels": 10**7} if field == "id2label" else {field: 10**8 * config["num_attention_heads"]}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    fields = json.loads((folder / MAP_FILE).read_text())
    fields["files"][CONFIG_FILE] = describe_file(folder / CONFIG_FILE)
    sign(folder, fields)
    with bounded(seconds=3, mebibytes=300), pytest.raises(PackedModelError):
        load_packed(folder)

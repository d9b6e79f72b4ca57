import hashlib
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers.models import WordPiece
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    PreTrainedTokenizerFast,
)
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from xtcq import BinaryQuantizer, files, load_packed, save_packed
from xtcq.packing import PackedModelError, check_packing, rename_labels
from xtcq.packing.manifest import CONFIG_FILE, MAP_FILE
from xtcq.quantization import ARCHITECTURES, QuantConfig, bitops, freeze, model_size, quantization_map, quantize

MIB = 2**20
WEIGHTS = "packed.safetensors"
MODELS = {
    "xtc 1-1-8": {"precision": "1-1-8"},
    "xtc 2-2-8 with a low-rank term": {"precision": "2-2-8", "lora_rank": 2},
    "xtc with a median": {"precision": "1-1-8", "recipe": "xtc-median"},
    "xtc mixed": {"precision": "4-4 5-2-3"},
    "xtc floating-point weights": {"precision": "32-3-8"},
    "ternarybert": {"precision": "2-2-8", "recipe": "ternarybert"},
    "binarybert": {"precision": "1-1-8", "recipe": "binarybert"},
    "adaqat mixed": {"precision": "4-4-4", "recipe": "adaqat", "bits": (1, 2, 3, 5, 8)},
    "questions": {"precision": "1-1-8", "kind": "BertForQuestionAnswering", "num_labels": 2},
    "bare": {"precision": "2-2-8", "recipe": "ternarybert", "kind": "BertModel"},
}
# SHA-256 of all codes, scales and parameters of the folders in packed_before.zip, which an earlier version packed.
PACKED_BEFORE = {
    "xtc": "d2c41447a30346e1fdd82d5769fb0c4a1d7e4fd92620cd88c081af330a50f2a5",
    "ternarybert": "2ce30cd1b311cd64b855f9d89c5c916b208f4200839eff7223ad63b1fd6a50c6",
    "binarybert": "3752cebc7ba45610ee23b8ebd7c2feabace1ab5c60bddc76a5bcd2042bcbcd76",
    "adaqat": "eac3dcd93b678123468dff889997787d751f68f04951b411cd56124b35e2800f",
}
models = pytest.mark.parametrize("which", MODELS.values(), ids=MODELS)


@models
def test_the_loaded_model_is_the_same_to_the_bit(which, frozen_bert, outputs, tmp_path):
    model = frozen_bert(**which)
    loaded = load_packed(save_packed(model, tmp_path / "m"))
    before, after = outputs(model), outputs(loaded)
    assert len(before) > 4 and all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert type(loaded) is type(model) and not loaded.training
    assert quantization_map(loaded) == quantization_map(model)
    assert model_size(loaded) == model_size(model) and bitops(loaded) == bitops(model)
    assert loaded.quant_config == model.quant_config
    found, expected = loaded.state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key


def test_folders_that_were_packed_before_load_to_the_same_bits(tmp_path):
    archive = Path(__file__).with_name("packed_before.zip")
    shutil.unpack_archive(archive, tmp_path)
    assert {folder.name for folder in tmp_path.iterdir()} == PACKED_BEFORE.keys()
    for name, expected in PACKED_BEFORE.items():
        model = load_packed(tmp_path / name)
        found = hashlib.sha256()
        for key, value in sorted(model.state_dict().items()):
            found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
        assert found.hexdigest() == expected
        rest = "fp16" if name == "xtc" else "fp32"
        again = save_packed(model, tmp_path / "again" / name, rest=rest)
        assert (again / WEIGHTS).read_bytes() == (tmp_path / name / WEIGHTS).read_bytes()


@models
def test_halves_are_the_only_loss_of_fp16(which, frozen_bert, outputs, tmp_path):
    """The same model with every stored float rounded to fp16 by hand gives the same outputs to the bit."""
    model = frozen_bert(**which)
    loaded = load_packed(save_packed(model, tmp_path / "m", rest="fp16"))
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    for one, other in zip(outputs(model), outputs(loaded), strict=True):
        assert torch.equal(one, other)
    stored = load_file(tmp_path / "m" / WEIGHTS).values()
    assert {tensor.dtype for tensor in stored} == {torch.uint8, torch.float16}


@models
@pytest.mark.parametrize("rest", ["fp32", "fp16"])
def test_the_tensors_have_the_size_that_model_size_predicts(which, rest, frozen_bert, tmp_path):
    model = frozen_bert(**which)
    save_packed(model, tmp_path / "m", rest=rest)
    stored = load_file(tmp_path / "m" / WEIGHTS).values()
    assert sum(tensor.nbytes for tensor in stored) == round(model_size(model, rest).packed_mib * MIB)


PROMISED = [(12, "1-1-8", "fp32", 17.4), (12, "2-2-8", "fp16", 23.0), (6, "1-1-8", "fp16", 10.0)]


def test_the_file_of_bert_base_keeps_the_promise(tmp_path):
    for layers, precision, rest, promised in PROMISED:
        shape = ARCHITECTURES["bert-base"] | {"num_hidden_layers": layers}
        with torch.device("meta"):
            model = BertModel(BertConfig(**shape))
        assert model_size(quantize(model, QuantConfig(precision)), rest).packed_mib <= promised
    # The last one in full. Not random: half a second of a generator, and the size does not depend on it.
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.02)
    save_packed(freeze(model), tmp_path / "m", rest=rest)
    found = (tmp_path / "m" / WEIGHTS).stat().st_size / MIB
    assert found <= promised
    assert found == pytest.approx(model_size(model, rest).packed_mib, rel=0.005)


def test_a_model_without_pooler_and_one_with_a_quantized_head(frozen_bert, outputs, tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    bare = quantize(BertModel(BertConfig(vocab_size=101, **sizes), add_pooling_layer=False), QuantConfig("1-1-8"))
    head = BertForSequenceClassification(BertConfig(vocab_size=101, **sizes))
    head = quantize(head, QuantConfig("2-2-8"), include=["classifier", "*.query"])
    for number, model in enumerate((bare, head)):
        freeze(model.eval())
        loaded = load_packed(save_packed(model, tmp_path / str(number)))
        for one, other in zip(outputs(model)[:2], outputs(loaded)[:2], strict=True):
            assert one is other is None or torch.equal(one, other)


def test_reduced_layers_labels_and_tokenizer_come_back(frozen_bert, word_tokenizer, tmp_path):
    model = frozen_bert(num_hidden_layers=1)
    model.config.id2label = {0: "no", 1: "maybe", 2: "yes"}
    folder = save_packed(model, tmp_path / "m", tokenizer=word_tokenizer)
    loaded, tokenizer = load_packed(folder), AutoTokenizer.from_pretrained(folder)
    assert loaded.config.num_hidden_layers == 1 and loaded.config.id2label[2] == "yes"
    assert tokenizer("w1 w7")["input_ids"] == word_tokenizer("w1 w7")["input_ids"]
    assert "tokenizer.json" in json.loads((folder / "quantization_map.json").read_text())["files"]


@models
def test_the_loaded_model_computes_in_other_formats(which, frozen_bert, padded_batch, tmp_path):
    """In 16 bits some activations are rounded to another level, as in a student that was not frozen."""
    folder = save_packed(frozen_bert(**which), tmp_path / "m")
    for dtype, slack in ((torch.float16, 0.2), (torch.bfloat16, 0.2), (torch.float64, 1e-5)):
        loaded = load_packed(folder)
        with torch.no_grad():
            exact = loaded(**padded_batch)[0]
            found = loaded.to(dtype)(**padded_batch)[0]
            back = loaded.float()(**padded_batch)[0]
        assert found.dtype == dtype and back.dtype == torch.float32
        for other in (found.float(), back):
            torch.testing.assert_close(other, exact, rtol=0, atol=slack * exact.abs().max().item())


def test_transformers_does_not_take_codes_for_a_checkpoint(frozen_bert, tmp_path):
    folder = save_packed(frozen_bert(), tmp_path / "m")
    with pytest.raises(OSError, match="model.safetensors"):
        BertForSequenceClassification.from_pretrained(folder)


def plain(frozen_bert):
    return BertModel(BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=9))


def fake_quantized(frozen_bert):
    return quantize(plain(frozen_bert), QuantConfig("1-1-8"))


def other_class(frozen_bert):
    config = BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=9)
    return freeze(quantize(BertForMaskedLM(config), QuantConfig("1-1-8")))


def untried_step(frozen_bert):
    return freeze(quantize(plain(frozen_bert), QuantConfig("4-4-4", "adaqat")))


def half_model(frozen_bert):
    return freeze(fake_quantized(frozen_bert).half())


def changed(key, value):
    def build(frozen_bert):
        model = frozen_bert()
        with torch.no_grad():
            model.state_dict()[key].view(-1)[:1] = value
        return model

    return build


def own_class(frozen_bert):
    """One that is named like one that can be packed, and computes something else."""
    kind = type("BertForSequenceClassification", (BertForSequenceClassification,), {})
    model = frozen_bert()
    model.__class__ = kind
    return model


def labelled(names, **fields):
    def build(frozen_bert):
        model = frozen_bert()
        model.config.id2label = names
        for name, value in fields.items():
            setattr(model.config, name, value)
        return model

    return build


def other_quantizer(frozen_bert):
    model = quantize(plain(frozen_bert), QuantConfig("1-1-8"))
    model.encoder.layer[0].output.dense.weight_quantizer = BinaryQuantizer("row")
    return freeze(model)


def switched(frozen_bert):
    model = frozen_bert("2-2-8", "ternarybert")
    model.set_attn_implementation("eager")
    return model


@pytest.mark.filterwarnings("ignore:this model can be quantized")
@pytest.mark.parametrize(
    ("build", "rest", "message"),
    [
        (plain, "fp32", "BertModel is not quantized: call quantize"),
        (fake_quantized, "fp32", "not frozen, embeddings.word_embeddings holds floating-point weights: call freeze"),
        (other_class, "fp32", "BertForMaskedLM cannot be packed: use transformers' own BertModel, "),
        (untried_step, "fp32", r"query.input_quantizer has no step size yet, .* run the model once"),
        (half_model, "fp32", "holds torch.float16, expected torch.float32: call model.float"),
        (plain, "bf16", "rest is 'bf16', expected one of 'fp32', 'fp16'"),
        (changed("classifier.bias", float("nan")), "fp32", "^classifier: 'bias' holds NaN or infinity"),
        (changed("bert.pooler.dense.bias", 1e5), "fp16", "dense: 'bias' holds 100000, and fp16 ends at 65504: use"),
        (
            changed("bert.encoder.layer.0.output.dense.codes", 0),
            "fp32",
            r"^bert.encoder.layer.0.output.dense.codes: codes from -1 to 1 do not fit: expected -1 to 1 in steps of 2",
        ),
        (own_class, "fp32", r"test_packed.BertForSequenceClassification cannot be packed: use transformers' own"),
        (labelled({0: "a", 1: "b"}), "fp32", "expected a name of its own for each of 0 to 2"),
        (labelled({0: "a", 1: "b", 2: "a"}), "fp32", "expected a name of its own for each of 0 to 2"),
        (labelled({0: "a", 1: "b", 2: "c"}, problem_type="regression"), "fp32", "regression' with 3 outputs, expected"),
        (switched, "fp32", "set to 'eager' after quantize"),
        (other_quantizer, "fp32", "could not be loaded again .*'row'.*: change widths by set_widths"),
    ],
    ids="float fake class step half rest nan overflow codes own short equal outputs attention quantizer".split(),
)
def test_models_that_cannot_be_packed(build, rest, message, frozen_bert, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_packed(build(frozen_bert), tmp_path / "m", rest=rest)
    assert not list(tmp_path.iterdir())


def added_token(tokenizer):
    tokenizer.add_tokens(["brandx"])


def changed_later(name, value):
    return lambda tokenizer: setattr(tokenizer, name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (added_token, r"numbers 'brandx' as 101, and the model's table of tokens ends at 100: call model.resize"),
        (changed_later("pad_token", None), "the tokenizer has no padding token"),
        (changed_later("padding_side", "left"), "the tokenizer pads on the left, where"),
        (changed_later("truncation_side", "left"), "has truncation_side 'left', and 'right' when it is read back"),
    ],
)
def test_tokenizers_that_do_not_fit_are_refused(change, message, frozen_bert, word_tokenizer, tmp_path):
    change(word_tokenizer)
    with pytest.raises(ValueError, match=message):
        save_packed(frozen_bert(), tmp_path / "m", tokenizer=word_tokenizer)
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_that_is_written_in_python(frozen_bert, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "w1"]))
    save_packed(frozen_bert(), tmp_path / "m", tokenizer=BertTokenizerLegacy(str(tmp_path / "vocab.txt")))


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("normalizer", lambda words: Replace("w1", "w2")),
        ("pre_tokenizer", lambda words: Whitespace()),
        ("model", lambda words: WordPiece(words, max_input_chars_per_word=1, unk_token="[UNK]")),
    ],
)
def test_a_tokenizer_of_bert_that_was_changed_is_kept_in_a_general_one(part, changed, frozen_bert, tmp_path):
    """transformers makes BERT's own from its vocabulary alone when it is read again."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(90)), "##s", "-", "x"]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    save_packed(frozen_bert(), tmp_path / "m", tokenizer=tokenizer)
    setattr(tokenizer.backend_tokenizer, part, changed(tokenizer.get_vocab()))
    with pytest.raises(ValueError, match=f"has another {part} when it is read back, .* PreTrainedTokenizerFast"):
        save_packed(frozen_bert(), tmp_path / "m", tokenizer=tokenizer)
    names = {name: getattr(tokenizer, name) for name in ("pad_token", "unk_token", "cls_token", "sep_token")}
    general = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **names)
    save_packed(frozen_bert(), tmp_path / "m", tokenizer=general)
    assert AutoTokenizer.from_pretrained(tmp_path / "m")("w1s x-w1")["input_ids"] == tokenizer("w1s x-w1")["input_ids"]


def test_what_cannot_be_packed_is_said_before_work(tiny_bert, word_tokenizer, tmp_path):
    model, occupied = tiny_bert(), tmp_path / "occupied"
    check_packing(model, tmp_path / "new" / "folder", word_tokenizer)
    assert not (tmp_path / "new").exists()
    check_packing(model, save_packed(freeze(quantize(tiny_bert(), QuantConfig("1-1-8"))), tmp_path / "earlier"))
    occupied.mkdir()
    (occupied / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"occupied exists and notes.txt in it belongs to no packed model: give"):
        check_packing(model, occupied, word_tokenizer)
    word_tokenizer.add_tokens(["brandx"])
    with pytest.raises(ValueError, match="the tokenizer numbers 'brandx' as 101, and the model's table"):
        check_packing(model, tmp_path / "new", word_tokenizer)
    model.config.hidden_act = "silu"
    with pytest.raises(ValueError, match="integer inference has encoders with 'gelu' or 'relu'"):
        check_packing(model, tmp_path / "new")
    model.config.hidden_act = "gelu"
    model.classifier = torch.nn.Sequential(torch.nn.Linear(32, 2))
    with pytest.raises(ValueError, match="cannot be packed, since classifier is Sequential"):
        check_packing(model, tmp_path / "new")


def test_the_place_of_a_packed_model_must_be_one_that_can_be_replaced(frozen_bert, tiny_bert, tmp_path, monkeypatch):
    folder = save_packed(frozen_bert(), tmp_path / "m")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.chdir(folder)
    for write in (lambda: check_packing(tiny_bert(), "."), lambda: save_packed(frozen_bert("2-2-8"), "."),
                  lambda: rename_labels(".", ["a", "b", "c"])):  # fmt: skip
        with pytest.raises(OSError, match="is the working directory, or holds it: go elsewhere"):
            write()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("m")
    monkeypatch.setattr(os.path, "ismount", lambda path: not Path(path).is_symlink())
    for target in (folder, tmp_path / "link"):
        with pytest.raises(OSError, match="m is a mount point, which nothing can replace: give a folder inside it"):
            check_packing(tiny_bert(), target)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_loads_whatever_torchs_default_format_is(frozen_bert, tmp_path):
    folder = save_packed(frozen_bert(), tmp_path / "m")
    expected = load_packed(folder).state_dict()
    torch.set_default_dtype(torch.float64)
    try:
        found = load_packed(folder).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_model_that_was_frozen_in_half_is_packed_after_all(frozen_bert, padded_batch, tmp_path):
    model = half_model(frozen_bert).float()
    model(padded_batch["input_ids"] % 9)
    save_packed(model, tmp_path / "m")


def test_only_packed_models_are_replaced(frozen_bert, tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    save_packed(frozen_bert(), folder)
    save_packed(frozen_bert("2-2-8"), folder)
    assert str(load_packed(folder).quant_config.precision) == "2-2-8"
    (folder / "thesis.tex").write_text("years of work")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(FileExistsError, match=r"m exists and thesis.tex in it belongs to no packed model"):
        save_packed(frozen_bert(), folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    with pytest.raises(FileExistsError, match="thesis.tex"):
        save_packed(frozen_bert(), folder / "thesis.tex")


@pytest.mark.parametrize("error", [OSError(28, "No space left"), Exception("No space left on device (os error 28)")])
@pytest.mark.parametrize("earlier", [False, True])
def test_nothing_half_written_is_left(earlier, error, frozen_bert, word_tokenizer, tmp_path, monkeypatch):
    folder = tmp_path / "m"
    if earlier:
        save_packed(frozen_bert(), folder)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def full_disk(*arguments, **options):
        raise error

    monkeypatch.setattr(type(word_tokenizer), "save_pretrained", full_disk)
    with pytest.raises(OSError, match="No space left on device; .*m was not changed. Free some space"):
        save_packed(frozen_bert("2-2-8"), folder, tokenizer=word_tokenizer)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_folder_is_replaced_in_one_step(frozen_bert, tmp_path, monkeypatch):
    for name in ("m", "n"):
        (tmp_path / name).mkdir()
    if not files._exchange(tmp_path / "m", tmp_path / "n"):
        pytest.skip("needs Linux and a file system that can swap two names")
    folder = save_packed(frozen_bert(), tmp_path / "m")

    def no_name_for_a_moment(*paths):
        raise AssertionError(f"{paths} was renamed")

    monkeypatch.setattr(files.os, "rename", no_name_for_a_moment)
    save_packed(frozen_bert("2-2-8"), folder)
    assert str(load_packed(folder).quant_config.precision) == "2-2-8"
    assert {path.name for path in tmp_path.iterdir()} == {"m", "n"}


def test_a_folder_is_replaced_in_two_steps_elsewhere(frozen_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    folder = save_packed(frozen_bert(), tmp_path / "m")
    save_packed(frozen_bert("2-2-8"), folder)
    assert str(load_packed(folder).quant_config.precision) == "2-2-8"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_was_moved_aside_when_the_writer_was_killed_is_moved_back(
    frozen_bert, word_tokenizer, tmp_path, monkeypatch, killed_prefix
):
    folder = save_packed(frozen_bert(), tmp_path / "m")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    folder.rename(tmp_path / f"{killed_prefix('m')}abcdefgh.old")
    (tmp_path / f"{killed_prefix('m')}abcdefgh").mkdir()

    def full_disk(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="m was not changed"):
        patch.setattr(type(word_tokenizer), "save_pretrained", full_disk)
        save_packed(frozen_bert("2-2-8"), folder, tokenizer=word_tokenizer)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_symbolic_link_stays_and_what_it_leads_to_is_replaced(frozen_bert, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to("v1")
    for precision in ("1-1-8", "2-2-8"):  # the first makes the folder
        save_packed(frozen_bert(precision), link)
        assert link.is_symlink() and str(load_packed(tmp_path / "v1").quant_config.precision) == precision
    assert {path.name for path in tmp_path.iterdir()} == {"latest", "v1"}


def test_the_safetensors_file_is_an_ordinary_one(frozen_bert, tmp_path):
    save_packed(frozen_bert(), tmp_path / "m")
    with safe_open(tmp_path / "m" / WEIGHTS, "pt") as file:
        assert "bert.embeddings.word_embeddings.codes" in file.keys()


def test_labels_are_renamed_and_nothing_else(frozen_bert, word_tokenizer, outputs, tmp_path):
    folder = save_packed(frozen_bert(), tmp_path / "m", tokenizer=word_tokenizer)
    (folder / ".gitattributes").write_text("x")
    before, model = {p.name: p.read_bytes() for p in folder.iterdir()}, load_packed(folder)
    assert rename_labels(folder, ["bad", "fair", "gut \u00fc"]) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    renamed = load_packed(folder)
    assert renamed.config.id2label == {0: "bad", 1: "fair", 2: "gut \u00fc"}
    assert renamed.config.label2id == {"bad": 0, "fair": 1, "gut \u00fc": 2}
    assert all(torch.equal(a, b) for a, b in zip(outputs(renamed), outputs(model), strict=True))
    after = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert {name for name in before | after if before.get(name) != after.get(name)} == {CONFIG_FILE, MAP_FILE}


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"], ["a", "b", ""], ["a", "b", "c\n"]])
def test_names_that_are_not_one_for_each_label(names, frozen_bert, tmp_path):
    folder = save_packed(frozen_bert(), tmp_path / "m")
    with pytest.raises(ValueError, match=r"expected a name of its own for each of 0 to 2: in the order of \['LABEL_0'"):
        rename_labels(folder, names)
    with pytest.raises(ValueError, match="holds a BertModel without classes"):
        rename_labels(save_packed(frozen_bert(kind="BertModel"), tmp_path / "e"), ["a", "b", "c"])


def test_labels_that_were_edited_by_hand_are_refused_with_the_command(frozen_bert, tmp_path):
    config = save_packed(frozen_bert(), tmp_path / "m") / CONFIG_FILE
    for name in ("a name of another length", "RENAME0"):
        text = config.read_text()
        config.write_text(text.replace("LABEL_0", name))
        with pytest.raises(PackedModelError, match="config.json has .* Labels are renamed by .*rename-labels"):
            load_packed(config.parent)
        config.write_text(text)


def test_a_loaded_model_is_packed_with_the_tokenizer_it_came_with(frozen_bert, word_tokenizer, tmp_path):
    folder = save_packed(frozen_bert(), tmp_path / "m", tokenizer=word_tokenizer)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    copied = save_packed(load_packed(folder), tmp_path / "copy")
    assert {p.name: p.read_bytes() for p in copied.iterdir()} == before
    save_packed(load_packed(folder), folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_threads_load_side_by_side_and_leave_others_alone(frozen_bert, padded_batch, tmp_path):
    """A server loads in several threads, while others build models of their own on the processor."""
    model = frozen_bert()
    folder, going = save_packed(model, tmp_path / "packed"), threading.Event()
    strays: list[torch.nn.Module] = []

    def build():
        while not going.is_set():
            strays.extend(one for one in [torch.nn.Linear(2, 2)] if one.weight.is_meta)

    bystander = threading.Thread(target=build)
    bystander.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            loaded = list(pool.map(lambda _: load_packed(folder), range(8)))
    finally:
        going.set()
        bystander.join()
    assert not strays and not torch.nn.Linear(2, 2).weight.is_meta
    with torch.no_grad():
        expected = model(**padded_batch).logits
        assert all(torch.equal(one(**padded_batch).logits, expected) for one in loaded)
        ids = padded_batch["input_ids"]  # without a mask and types, which come from the buffers
        assert torch.equal(loaded[0](ids).logits, model(ids).logits)

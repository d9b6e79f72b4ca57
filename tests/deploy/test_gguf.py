import sys

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from xtcq import load_packed, save_packed
from xtcq.__main__ import app
from xtcq.deploy.gguf_file import export_gguf

SPECIAL = {role: f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
SIZES = {"hidden_size": 128, "intermediate_size": 256, "num_labels": 2}


@pytest.fixture
def pieces():
    """A tokenizer of word pieces."""
    vocabulary = {piece: i for i, piece in enumerate([*SPECIAL.values(), "good", "##ness", "bad"])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{role}_token": token for role, token in SPECIAL.items()}
    )


@pytest.fixture
def packed(frozen_bert, pieces, tmp_path):
    def build(precision="1-1-8", tokenizer=pieces, **options):
        model = frozen_bert(precision, **SIZES | options)
        model.config.id2label = {0: "bad", 1: "good"}
        return save_packed(model, tmp_path / "m", tokenizer=tokenizer)

    return build


def binary_values(tensor):
    """Blocks of a scale in half precision and 128 bits, the first one lowest: 1 is the scale, 0 its negative."""
    blocks = np.array(tensor.data).reshape(-1, 18)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").astype(np.float32)
    return (scales * (2 * bits - 1)).reshape(tuple(reversed(tensor.shape.tolist())))


def rounded(layer):
    scale = layer.scale.numpy().reshape(-1, 1).astype(np.float16).astype(np.float32)
    return layer.codes.numpy().astype(np.float32) * scale


def test_binary_weights_are_bits(packed, tmp_path):
    folder = packed()
    model = load_packed(folder)
    path = export_gguf(folder, tmp_path / "m.gguf")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    layer = model.bert.encoder.layer[1]
    matrices = {
        "token_embd.weight": model.bert.embeddings.word_embeddings,
        "blk.1.attn_q.weight": layer.attention.self.query,
        "blk.1.ffn_up.weight": layer.intermediate.dense,
        "blk.1.ffn_down.weight": layer.output.dense,
    }
    for name, module in matrices.items():
        assert tensors[name].tensor_type == gguf.GGMLQuantizationType.Q1_0
        np.testing.assert_array_equal(binary_values(tensors[name]), rounded(module), err_msg=name)
        assert tensors[name].n_bytes * 8 / module.codes.numel() == 1.125
    for name, values in {
        "position_embd.weight": model.bert.embeddings.position_embeddings.weight,
        "blk.0.layer_output_norm.weight": model.bert.encoder.layer[0].output.LayerNorm.weight,
        "blk.1.attn_v.bias": layer.attention.self.value.bias,
        "cls.weight": model.bert.pooler.dense.weight,
        "cls.output.weight": model.classifier.weight,
    }.items():
        np.testing.assert_array_equal(tensors[name].data, values.detach().numpy())


def test_ternary_weights_survive_the_format(packed, tmp_path):
    folder = packed("2-2-8", hidden_size=256, num_attention_heads=2)
    model = load_packed(folder)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(export_gguf(folder, tmp_path / "m.gguf")).tensors}
    tensor, layer = tensors["blk.0.ffn_down.weight"], model.bert.encoder.layer[0].output.dense
    found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    np.testing.assert_array_equal(np.sign(found), layer.codes.numpy())
    np.testing.assert_allclose(found, (layer.codes * layer.scale).numpy(), rtol=2**-10)


def test_what_llama_cpp_reads_beside_the_weights(packed, tmp_path):
    reader = gguf.GGUFReader(export_gguf(packed(), tmp_path / "m.gguf"))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "bert" and fields["bert.pooling_type"] == gguf.PoolingType.RANK
    assert fields["bert.classifier.output_labels"] == ["bad", "good"]
    assert (fields["bert.embedding_length"], fields["bert.block_count"]) == (128, 2)
    assert fields["tokenizer.ggml.tokens"][:8] == [*SPECIAL.values(), "\u2581good", "ness", "\u2581bad"]
    assert len(fields["tokenizer.ggml.tokens"]) == 101
    assert fields["tokenizer.ggml.bos_token_id"] == 2 and fields["tokenizer.ggml.seperator_token_id"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"hidden_size": 36},
            "token_embd.weight has 2 levels in rows of 36, and GGUF holds binary weights in blocks of",
        ),
        ({"precision": "2-2-8", "hidden_size": 36}, "has 3 levels in rows of 36, .*: export to ONNX"),
        ({"precision": "8-8-8"}, "has 256 levels"),
        ({"lora_rank": 2}, "is a sum of two terms, which a GGUF file cannot hold"),
        (
            {"kind": "BertForQuestionAnswering"},
            "holds a BertForQuestionAnswering, expected a BertForSequenceCl",
        ),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', and llama.cpp's BERT has 'gelu'"),
    ],
)
def test_what_the_format_cannot_hold(options, message, packed, tmp_path):
    folder = packed(**options)
    with pytest.raises(ValueError, match=message):
        export_gguf(folder, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_tokenizers_that_are_none_of_word_pieces(packed, word_tokenizer, tmp_path):
    with pytest.raises(ValueError, match="is a WordLevel tokenizer, expected WordPiece in lower case"):
        export_gguf(packed(tokenizer=word_tokenizer), tmp_path / "m.gguf")


def test_a_package_that_is_not_there(packed, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModuleNotFoundError, match="pip install gguf"):
        export_gguf(packed(), tmp_path / "m.gguf")


def test_the_command_writes_either(packed, tmp_path):
    folder = packed()
    for kind in ("onnx", "gguf"):
        result = CliRunner().invoke(app, ["export", str(folder), "--to", kind])
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"m.{kind}").stat().st_size > 0 and f"m.{kind}: 0." in result.stdout
    result = CliRunner().invoke(app, ["export", str(folder), "--to", "tflite"])
    assert result.exit_code == 1 and "--to is 'tflite', expected one of 'onnx', 'gguf'" in result.stderr
    (tmp_path / "notes.txt").write_text("mine")
    for name in (".", "notes.txt"):
        result = CliRunner().invoke(app, ["export", str(folder), "--to", "onnx", "--output", str(tmp_path / name)])
        assert result.exit_code == 1 and "give one that ends in .onnx with --output" in result.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from xtcq import save_packed
from xtcq.deploy.export import INPUTS, build_graph, export_onnx
from xtcq.deploy.runtime import session_options
from xtcq.quantization import DynamicQuantizer, LSQQuantizer, QuantConfig, QuantLinear, freeze, quantize

MODELS = {
    "xtc 1-1-8": {"precision": "1-1-8"},
    "xtc 2-2-8 with a low-rank term": {"precision": "2-2-8", "lora_rank": 2},
    "xtc mixed tables": {"precision": "4-4 5-2-3"},
    "xtc 8-8-8": {"precision": "8-8-8"},
    "xtc floating-point weights": {"precision": "32-3-8"},
    "xtc floating-point activations": {"precision": "2-2-32"},
    "xtc relu": {"precision": "1-1-8", "hidden_act": "relu"},
    "ternarybert 2-2-8": {"precision": "2-2-8", "recipe": "ternarybert"},
    "ternarybert 8-8-8": {"precision": "8-8-8", "recipe": "ternarybert"},
    "adaqat mixed": {"precision": "4-4-4", "recipe": "adaqat", "bits": (1, 2, 3, 5, 8)},
    "adaqat 2-4-8": {"precision": "2-4-8", "recipe": "adaqat"},
    "questions": {"precision": "1-1-8", "kind": "BertForQuestionAnswering", "num_labels": 2},
    "bare": {"precision": "2-2-8", "recipe": "ternarybert", "kind": "BertModel"},
}
INPUT_QUANTIZERS = {
    "learned, unsigned": lambda: LSQQuantizer(8, signed=False),
    "clipped, 4 bits": lambda: DynamicQuantizer(4, clip=0.5),
}


def start(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(graph, full_check=False)
    return onnxruntime.InferenceSession(graph.SerializeToString(), session_options(1), ["CPUExecutionProvider"])


def run(session, batch) -> list[np.ndarray]:
    return session.run(None, {name: batch[name].numpy() for name in INPUTS})


@torch.no_grad()
def expect(model, batch) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in model(**batch).to_tuple()]


# A code that lies between two levels may fall to either side, by the order in which a sum is taken.
TOLERANCE = 3e-4


def assert_equal(model, weights, *batches):
    session = start(build_graph(model, weights))
    for batch in batches:
        for one, other in zip(run(session, batch), expect(model, batch), strict=True):
            np.testing.assert_allclose(one, other, atol=TOLERANCE, rtol=0)


@pytest.fixture
def batch(padded_batch):
    segments = torch.zeros_like(padded_batch["input_ids"])
    segments[:, 4:] = 1
    return padded_batch | {"token_type_ids": segments}


@pytest.mark.parametrize("weights", ["int8", "matmulnbits"])
@pytest.mark.parametrize("which", MODELS.values(), ids=MODELS)
def test_outputs_equal_those_of_the_frozen_model(which, weights, frozen_bert, batch):
    model = frozen_bert(**which)
    shorter = {name: values[1:2, :5] for name, values in batch.items()}
    assert_equal(model, weights, batch, shorter)  # both axes are free


@pytest.mark.parametrize("make", INPUT_QUANTIZERS.values(), ids=INPUT_QUANTIZERS)
@pytest.mark.parametrize("weights", ["int8", "matmulnbits"])
def test_every_input_quantizer_has_its_form_in_bytes(make, weights, frozen_bert, batch):
    model = frozen_bert("2-2-8")
    for module in model.modules():
        if isinstance(module, QuantLinear):
            module.input_quantizer = make()
    expect(model, batch)  # steps are set by the first batch
    assert_equal(model, weights, batch)


@pytest.mark.parametrize("weights", ["int8", "matmulnbits"])
@pytest.mark.parametrize("precision", ["1-1-8", "1-1-4"])
def test_tokens_of_zeros(precision, weights, frozen_bert, batch):
    """Their scale is zero, and what they are multiplied with does not matter."""
    model = frozen_bert(precision)
    norm = model.bert.encoder.layer[0].attention.output.LayerNorm
    with torch.no_grad():
        norm.weight.zero_(), norm.bias.zero_()
    assert_equal(model, weights, batch)


@pytest.mark.parametrize(
    "wrong", [None, DynamicQuantizer(4), DynamicQuantizer(4, symmetric=False, granularity="token")], ids=str
)
def test_the_tolerance_tells_other_activations_apart(wrong, frozen_bert, batch):
    model = frozen_bert("1-1-4")
    found = run(start(build_graph(model)), batch)[0]
    np.testing.assert_allclose(found, expect(model, batch)[0], atol=TOLERANCE, rtol=0)
    for module in model.modules():
        if isinstance(module, QuantLinear):
            module.input_quantizer = wrong
    assert np.abs(expect(model, batch)[0] - found).max() > 5 * TOLERANCE


@pytest.mark.parametrize("precision", ["1-1-8", "2-2-8"])
def test_weights_and_tables_stay_packed(precision, frozen_bert):
    """A matrix takes as many bytes in the file as its bits ask for, and onnxruntime makes bytes of them once."""
    model = frozen_bert(precision)
    kinds = {}
    for tensor in build_graph(model).graph.initializer:
        kinds.setdefault(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name, []).append(list(tensor.dims))
    per_byte = {"1-1-8": 8, "2-2-8": 5}[precision]
    assert kinds["int8"] == [[{8: 256, 5: 243}[per_byte], per_byte]]
    sizes = sorted([36 * 36] * 8 + [36 * 70] * 4)
    assert sorted(dims[0] for dims in kinds["uint8"] if len(dims) == 1 and dims[0] > 1) == [
        -(-size // per_byte) for size in sizes
    ]
    assert [101, -(-36 // per_byte)] in kinds["uint8"] and [101, 36] not in kinds["float32"]
    stored = [node for node in build_graph(model, "matmulnbits").graph.node if node.op_type == "MatMulNBits"]
    assert len(stored) == 12 and all(node.attribute for node in stored)


def test_greater_codes_are_unsigned_bytes(frozen_bert):
    """Pairs of products with codes beyond 64 overflow the 16 bits in which older processors add them."""
    graph = build_graph(frozen_bert("8-8-8")).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 12
    for node in products:
        assert tensors[node.input[1]].dtype == np.uint8 and tensors[node.input[5]] == 128


@pytest.mark.parametrize(("recipe", "biases"), [("xtc", 12), ("ternarybert", 5), ("adaqat", 5)])
def test_sums_stay_apart_and_on_all_threads(recipe, biases, frozen_bert, tmp_path):
    """onnxruntime joins none of them to an operator that is slower; a key's bias is none where scores are not rounded.

    Steps of the whole tensor leave the bias to the product, where nothing else is added to it.
    """
    onnx.save(build_graph(frozen_bert("2-2-8", recipe)), tmp_path / "m.onnx")
    options = session_options(None)
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(tmp_path / "m.onnx", options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimized.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert not [kind for kind in kinds if "Skip" in kind or "Bias" in kind] and kinds.count("Sum") <= 1
    rows = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2 and tensor.dims[0] == 1}
    assert sum(node.op_type == "Add" and bool(rows & set(node.input)) for node in graph.node) == biases


def test_query_key_and_value_share_the_codes_of_their_input(frozen_bert):
    nodes = build_graph(frozen_bert("1-1-8")).graph.node
    # Of six linear layers, four inputs; the last layer's query sees the first token alone.
    assert sum(node.op_type == "QuantizeLinear" for node in nodes) == 4 + 5
    model = frozen_bert("4-4-4", "adaqat")
    assert sum(node.op_type == "QuantizeLinear" for node in build_graph(model).graph.node) == 4 + 5 + 1
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.attention.self.key.input_quantizer.step *= 1.1
    assert sum(node.op_type == "QuantizeLinear" for node in build_graph(model).graph.node) == 5 + 6 + 1


def test_a_file_is_written_from_a_folder(frozen_bert, batch, tmp_path):
    model = frozen_bert()
    path = export_onnx(save_packed(model, tmp_path / "m"), tmp_path / "new" / "model.onnx")
    np.testing.assert_allclose(run(start(onnx.load(path)), batch)[0], expect(model, batch)[0], atol=TOLERANCE)
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda bert: (bert(), "int4"), "weights is 'int4', expected one of 'int8', 'matmulnbits'"),
        (
            lambda bert: (quantize(BertModel(BertConfig(num_hidden_layers=1)), QuantConfig("1-1-8")), "int8"),
            "BertModel is not frozen, embeddings.word_embeddings holds floating-point weights: call freeze",
        ),
        (
            lambda bert: (
                freeze(quantize(BertForMaskedLM(BertConfig(num_hidden_layers=1)), QuantConfig("1-1-8"))),
                "int8",
            ),
            "BertForMaskedLM cannot be packed: use transformers' own BertModel",
        ),
        (lambda bert: (bert(hidden_act="gelu_new"), "int8"), "hidden_act is 'gelu_new'"),
    ],
    ids=["weights", "fake", "class", "activation"],
)
@pytest.mark.filterwarnings("ignore:this model can be quantized")
def test_what_cannot_be_exported(build, message, frozen_bert, tmp_path):
    model, weights = build(frozen_bert)
    with pytest.raises(ValueError, match=message):
        export_onnx(model, tmp_path / "m.onnx", weights)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (LSQQuantizer(1), "cannot run as integers: expected a symmetric DynamicQuantizer, or an LSQQuantizer of two"),
        (DynamicQuantizer(8, symmetric=False), "cannot run as integers: expected a symmetric DynamicQuantizer"),
        (LSQQuantizer(4), "has no step size yet, it is set by the first batch: run the model once"),
    ],
)
def test_input_quantizers_without_a_form_in_bytes(quantizer, message, frozen_bert):
    model = frozen_bert()
    model.bert.encoder.layer[0].output.dense.input_quantizer = quantizer
    with pytest.raises(ValueError, match=message):
        build_graph(model)


def test_split_models_are_refused(tiny_bert):
    model = freeze(quantize(tiny_bert().eval(), QuantConfig("1-1-32", recipe="binarybert")))
    with pytest.raises(ValueError, match="embeddings was split in two binary halves by recipe 'binarybert', which has"):
        build_graph(model)

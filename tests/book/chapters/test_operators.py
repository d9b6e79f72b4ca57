import matplotlib.pyplot as plt
from xtcq_book.chapters import operators, plots_serving, serving

from xtcq import QuantConfig, freeze, quantize, reduce_layers
from xtcq.deploy.export import export_onnx
from xtcq.tasks import encode


def test_parts_of_the_time(tmp_path, tiny_bert, word_task, word_tokenizer):
    teacher = tiny_bert(layers=2).eval()
    student = freeze(quantize(reduce_layers(teacher, (0, 1)), QuantConfig("1-1-8")).eval())
    graphs = {"fp32": tmp_path / "fp32.onnx", "ours": tmp_path / "xtcq.onnx"}
    export_onnx(teacher, graphs["fp32"]), export_onnx(student, graphs["ours"])
    examples = encode(word_task.evaluation["validation"], word_task.spec, word_tokenizer)
    table = operators.parts(graphs, serving.make_batches(examples, word_tokenizer, 48), threads=1)
    assert list(table.columns) == [*operators.PARTS, operators.OTHER] and (table.sum(axis=1) > 0).all()
    assert table.loc["fp32", "products of integers"] == 0 < table.loc["fp32", "products of floats"]
    for part in ("products of integers", "quantizing activations", "attention", "LayerNorm", "GELU"):
        assert table.loc["ours", part] > 0, part
    (axes,) = plots_serving.part_bars(table).axes
    assert len(axes.patches) == 2 * len(table.columns)
    plt.close("all")

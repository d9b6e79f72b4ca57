import json

import pytest
from xtcq_book.chapters import benchmarks

QUARTILES = {"lower quartile": 1.0, "upper quartile": 2.0}


def way(fp32, int8):
    speeds = {"times as fast as PyTorch fp32": fp32, "times as fast as onnxruntime dynamic int8": int8}
    spread = {
        f"{name}, {other}": value
        for name, value in QUARTILES.items()
        for other in ("PyTorch fp32", "onnxruntime dynamic int8")
    }
    return {"ms (median)": 5.0, **speeds, **spread}


RESULTS = {
    "inference-cpu": {
        "device": "Processor 9",
        "threads": 2,
        "versions": {"torch": "2.13.0", "onnxruntime": "1.31.1"},
        "batches": {"1x128": {"PyTorch fp32": way(1.0, 0.3), "xtcq 1-1-8": way(4.0, 0.9),
                              "xtcq 2-2-8, matmulnbits": way(0.5, 0.1)}},
        "load": {"PyTorch fp32": {"peak memory (MiB)": 900.0}, "xtcq 1-1-8": {"peak memory (MiB)": 500.0}},
    },
    "training_peers-cpu": {
        "device": "Processor 9",
        "steps": 30,
        "targets": {"best peer, equal padding": 1.2, "deepspeed, padded to 128": 2.5},
        "what": {"xtcq": "binary"},
        "ways": {name: {"x xtcq": ratio, **QUARTILES, "file (MiB)": 90.0} for name, ratio in
                 [("xtcq", 1.0), ("deepspeed", 1.5), ("torchao", 1.1), ("deepspeed, padded to 128", 6.0)]},
    },
    "quantizer_kernels-cuda-compiled": {
        "target": 2.0,
        "shapes": {"2 x 3": {"GB/s": 10.0, "functions": {"binary, xtcq, forward": {"x bound": 1.5},
                                                         "binary, DeepSpeed, forward": {"x bound": 9.0}}}},
    },
    "training_step-cpu-compiled": {
        "device": "Processor 9",
        "compiled": True,
        "tokens": {"16": {"KD": {"x KD": 1.0, **QUARTILES}, "KD + xtc 1-1-8": {"x KD": 1.12, **QUARTILES},
                          "KD + adaqat 2-4-4": {"x KD": 3.0, **QUARTILES}}},
    },
    "training_step-cpu": {"tokens": {"16": {"KD + xtc 1-1-8": {"x KD": 1.12, **QUARTILES}}}},
    "training_step-cpu-amx": {
        "tokens": {"12": {"KD + xtc 1-1-8": {"x KD": 1.2}, "KD + xtc 1-1-8, bf16": {"x KD": 0.7},
                          "KD, bf16": {"x KD": 0.5}}}
    },
    "adaqat_step-cpu": {
        "device": "Processor 9",
        "tokens": {"64": {"QAT": {"x QAT (mean over layers)": 1.0}, "network": {"x QAT (mean over layers)": 1.7},
                          "layer, weights": {"x QAT (mean over layers)": 1.25}}},
    },
}  # fmt: skip


def timed(ms, ratio, size):
    return {"ms (median)": ms, **way(1.0, ratio), "file (MiB)": size} | {"ms (median)": ms}


INFERENCE = {
    "device": "Processor 9",
    "roofline": {
        "peak": {"1 threads": {"int8 (GMAC/s)": 500.0, "memory (GB/s)": 10.0}},
        "least ms": {f"small, {shape}, 1 threads": {"fp32": 4.0, "int8": 1.0} for shape in ("1x8", "1x128")},
    },
    "batches": {
        f"small, {shape}, 1 threads": {
            "PyTorch fp32": timed(10.0, 0.4, 80.0),
            "onnxruntime dynamic int8": timed(4.0, 1.0, 20.0),
            "onnxruntime dynamic int8, xtcq's graph": timed(3.0, 1.25, 20.0),
            "xtcq 1-1-8": timed(ours, 4.0 / ours, 4.0),
            "xtcq 2-2-8": timed(ours, 4.0 / ours, 5.0),
        }
        | ({"xtcq 2-2-8, matmulnbits": timed(3.0, 4 / 3, 5.0)} if shape == "1x8" else {})
        for shape, ours in (("1x8", 5.0), ("1x128", 2.0))
    },
}


@pytest.fixture
def folder(tmp_path):
    for name, data in RESULTS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    return tmp_path


def test_ratios_stand_beside_their_targets(folder):
    table = benchmarks.comparisons(benchmarks.read(folder))
    found = {key: (row["ratio"], row["target"], row["met"]) for key, row in table.iterrows()}
    assert found == {
        ("inference-cpu", "xtcq 1-1-8, batches 1x128, times as fast as PyTorch fp32"): (4.0, 3.0, True),
        ("inference-cpu", "xtcq 1-1-8, batches 1x128, times as fast as onnxruntime dynamic int8"): (0.9, 1.0, False),
        ("training_peers-cpu", "times as fast as best peer, equal padding (torchao)"): (1.1, 1.2, False),
        ("training_peers-cpu", "times as fast as deepspeed, padded to 128"): (6.0, 2.5, True),
        ("quantizer_kernels-cuda-compiled", "binary, xtcq, forward, shapes 2 x 3 functions, x bound"): (1.5, 2.0, True),
        ("training_step-cpu", "KD + xtc 1-1-8, tokens 16, x KD"): (1.12, 1.15, True),
        ("training_step-cpu-compiled", "KD + xtc 1-1-8, tokens 16, x KD"): (1.12, 1.1, False),
        ("training_step-cpu-amx", "KD + xtc 1-1-8, tokens 12, x KD"): (1.2, 1.15, False),
        ("training_step-cpu-amx", "KD + xtc 1-1-8, bf16, tokens 12, x KD"): (0.7, 0.6, False),
        ("adaqat_step-cpu", "layer, weights, tokens 64, x QAT (mean over layers)"): (1.25, 1.45, True),
    }
    assert table.loc["inference-cpu"]["lower quartile"].tolist() == [1.0, 1.0], "of ratios to PyTorch"
    assert table.loc["adaqat_step-cpu"]["lower quartile"].isna().all()
    assert benchmarks.verdict(benchmarks.comparisons({})).data.startswith("There is nothing to hold")
    text = benchmarks.verdict(table).data
    assert text.startswith("5 of 10 targets are met.\n") and text.count("is wanted") == 5
    assert "(torchao): 1.10, and at least 1.2 is wanted" in text
    (axes,) = benchmarks.against_targets(table).figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()][0] == (
        "Answering, AVX-512\ntimes as fast as PyTorch fp32:\nat least 3"
    )


def test_tables_and_machine_of_any_result(folder):
    found = benchmarks.read(folder)
    assert set(found) == set(RESULTS)
    inference = found["inference-cpu"]
    assert inference.machine == "Processor 9, 2 threads, torch 2.13.0, onnxruntime 1.31.1"
    tables = dict(inference.tables())
    assert list(tables) == ["batches 1x128", "load"]
    assert tables["load"].loc["xtcq 1-1-8", "peak memory (MiB)"] == 500
    assert found["training_peers-cpu"].machine == "Processor 9, steps 30"
    assert [name for name, _ in found["training_peers-cpu"].tables()] == ["ways"]
    assert [name for name, _ in found["quantizer_kernels-cuda-compiled"].tables()] == ["shapes 2 x 3 functions"]


def test_runtimes_side_by_side():
    result = benchmarks.Result("inference-cpu", INFERENCE)
    (table,) = benchmarks.milliseconds(result).values()
    assert list(table) == ["1x8", "1x128", "file (MiB)"]
    assert table.loc["xtcq 1-1-8"].tolist() == [5.0, 2.0, 4.0]
    assert table.loc["at least, int8", ["1x8", "1x128"]].tolist() == [1.0, 1.0]
    (few,) = benchmarks.few_bits(result).to_dict("records")
    assert few == pytest.approx({
        "least × int8": 0.8, "most × int8": 2.0, "least × int8 in xtcq's graph": 0.64,
        "most × int8 in xtcq's graph": 1.6, "times smaller": 20.0, "tokens": 50.0,
    })  # fmt: skip
    assert benchmarks.two_bits(result).to_dict("index") == {"small, 1 threads": {"1x8": pytest.approx(5 / 3)}}
    drawing = benchmarks.runtimes(result, "small, 1 threads")
    (axes,) = drawing.figure.axes
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["1x8", "1x128"]
    assert axes.lines[0].get_xdata()[3] == 0.8, "xtcq 1-1-8 at 1x8"
    assert len(drawing.data) == 6
    products = benchmarks.Result("products-cpu", {"products": INFERENCE["batches"]})
    (table,) = benchmarks.by_shape(products, "ms (median)", "products").values()
    assert table.loc["xtcq 1-1-8"].tolist() == [5.0, 2.0]


def test_the_committed_results_can_be_shown():
    found = benchmarks.read(benchmarks.results_folder())
    assert found and all(list(result.tables()) and result.machine for result in found.values())
    benchmarks.comparisons(found)

"""Values of claims without training against counts of BERT's weights made by hand, and against a file."""

import pytest
import torch
from transformers import BertConfig, BertModel
from xtcq_book.claims.computed import VALUES

from xtcq import QuantConfig, freeze, quantize, save_packed
from xtcq.quantization import ARCHITECTURES

LAYER, POOLER = 7_077_888, 589_824
TABLES = 768 * (30_522 + 2 + 512)
FULL = 12 * LAYER + POOLER + TABLES


@pytest.mark.parametrize("layers", [12, 6, 5, 4])
@pytest.mark.parametrize("bits", [1, 2])
def test_nominal_ratios_count_every_matrix(layers, bits):
    name = f"size-ratio-{bits}bit" if layers == 12 else f"size-ratio-{layers}-layers-{bits}bit"
    assert VALUES[f"{name}-nominal"]() == pytest.approx(32 / bits * FULL / (layers * LAYER + POOLER + TABLES))


def test_the_file_of_four_layers_at_one_bit_has_the_packed_ratio(tmp_path):
    with torch.device("meta"):
        model = BertModel(BertConfig(**ARCHITECTURES["bert-base"] | {"num_hidden_layers": 4}))
    model = quantize(model.to_empty(device="cpu"), QuantConfig("1-1-8"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.02)
    folder = save_packed(freeze(model), tmp_path / "m")
    size = (folder / "packed.safetensors").stat().st_size
    assert VALUES["size-ratio-4-layers-1bit-packed"]() == pytest.approx(4 * 109_482_240 / size, rel=0.002)


def test_embeddings_at_two_bits():
    """Bits of the three tables by hand; a file also holds the scales, a step for each table."""
    partly = 768 * (8 * 30_522 + 32 * (2 + 512))
    assert VALUES["embedding-ratio-fp32-nominal"]() == pytest.approx(16)
    assert VALUES["embedding-ratio-8-32-32-nominal"]() == pytest.approx(partly / (2 * TABLES))
    assert VALUES["embedding-ratio-fp32-packed"]() == pytest.approx(4 * TABLES / (TABLES / 4 + 12), rel=1e-6)
    assert VALUES["embedding-ratio-8-32-32-packed"]() == pytest.approx((partly / 8 + 4) / (TABLES / 4 + 12), rel=1e-6)


def test_memory_and_bit_operations_of_learned_widths():
    """The printed mean widths by hand: linear maps at W bits, words at 4, the rest at 4 bytes."""
    linears, words, parameters = 12 * LAYER + POOLER, 768 * 30_522, 109_482_240

    def learned(weights):
        return (weights * linears + 4 * words) / 8 + 4 * (parameters - linears - words)

    widths = [2.25, 2.16, 2.18, 2.16, 2.41, 2.27, 2.24, 2.47]
    full = sum(4 * parameters / learned(weights) for weights in widths) / 8
    assert VALUES["memory-ratio-fp32-nominal"]() == pytest.approx(full)
    assert VALUES["memory-ratio-fp32-packed"]() == pytest.approx(full, rel=1e-3)
    qbert = sum(53.2e6 / learned(weights) for weights in (2.25, 2.16)) / 2
    assert VALUES["memory-ratio-qbert-nominal"]() == pytest.approx(qbert)
    operations = 64 * (53.2e6 - (words + 4 * 768 * 514))
    assert VALUES["bitops-ratio-weight-only"]() == pytest.approx(operations / (2.25 * 4.11 * linears))

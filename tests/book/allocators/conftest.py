import pytest

from xtcq.quantization import QuantConfig, quantize


@pytest.fixture
def student(tiny_bert):
    """A tiny BERT that was quantized by recipe adaqat and has 13 layers to give widths to."""
    return quantize(tiny_bert(), QuantConfig("8-4-8", recipe="adaqat"))

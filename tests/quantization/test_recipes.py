import pytest

from xtcq.quantization import RECIPES, QuantConfig


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"precision": "2-4-4", "recipe": "gptq"},
            "recipe is 'gptq', expected one of 'xtc', 'xtc-median', 'ternarybert', 'adaqat', 'binarybert'",
        ),
        ({"precision": "2-4-4", "lora_rank": -1}, "lora_rank is -1, expected an integer of at least 0"),
        ({"precision": "2-4-4", "lora_rank": 1.0}, r"lora_rank is 1\.0, expected an integer"),
        ({"precision": "2-4-4", "lora_rank": True}, "lora_rank is True, expected an integer"),
        ({"precision": "32-4-4", "lora_rank": 1}, "weights stay in floating point: set lora_rank=0, or give"),
        ({"precision": "1-2-8", "recipe": "ternarybert"}, "asks recipe 'ternarybert' for one bit.*use 2 bits"),
        ({"precision": "2-1-8", "recipe": "ternarybert"}, "asks recipe 'ternarybert' for one bit"),
        ({"precision": 2}, "precision is 2, expected a Precision or a string such as '2-4-4'"),
        ({"precision": "2-4-77"}, "activations precision is 77"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        QuantConfig(**arguments)


@pytest.mark.parametrize(
    ("recipe", "bits", "weight", "table"),
    [
        ("xtc", 1, ("binary", "tensor", None), ("binary", "row", None)),
        ("xtc", 2, ("ternary", "tensor", None), ("ternary", "row", None)),
        ("xtc", 3, ("dynamic", "tensor", None), ("dynamic", "row", None)),
        ("xtc-median", 1, ("binary-median", "tensor", None), ("binary-median", "row", None)),
        ("xtc-median", 2, ("ternary", "tensor", None), ("ternary", "row", None)),
        ("ternarybert", 2, ("ternary", "tensor", 2.5), ("ternary", "row", 2.5)),
        ("ternarybert", 8, ("dynamic", "tensor", 2.5), ("dynamic", "row", 2.5)),
        ("adaqat", 1, ("lsq", "tensor", None), ("lsq", "tensor", None)),
        ("adaqat", 4, ("lsq", "tensor", None), ("lsq", "tensor", None)),
    ],
)
def test_weight_and_table_quantizers_of_the_recipes(recipe, bits, weight, table):
    scheme = RECIPES[recipe]
    for quantizer, expected in ((scheme.weight(bits), weight), (scheme.table(bits), table)):
        described = quantizer.describe()
        assert (described["quantizer"], described["granularity"], described["clip"]) == expected
        assert described["bits"] == bits


@pytest.mark.parametrize(
    ("recipe", "quantizer", "granularity"),
    [("xtc", "dynamic", "token"), ("ternarybert", "dynamic", "tensor"), ("adaqat", "lsq", "tensor")],
)
def test_activation_quantizers_of_the_recipes(recipe, quantizer, granularity):
    described = RECIPES[recipe].input(4).describe()
    assert (described["quantizer"], described["granularity"], described["bits"]) == (quantizer, granularity, 4)

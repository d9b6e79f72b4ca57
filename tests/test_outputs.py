import pytest
from transformers import BertConfig

from xtcq.outputs import check_names, problem_type
from xtcq.quantization import QuantConfig, quantize


@pytest.mark.parametrize(
    ("stated", "labels", "expected"),
    [
        (None, 1, "regression"),
        (None, 2, "single_label_classification"),
        ("regression", 1, "regression"),
        ("single_label_classification", 5, "single_label_classification"),
        ("multi_label_classification", 1, "multi_label_classification"),
        ("multi_label_classification", 3, "multi_label_classification"),
    ],
)
def test_what_outputs_mean(stated, labels, expected):
    config = BertConfig(num_labels=labels, problem_type=stated)
    assert problem_type(config) == expected
    assert config.problem_type == stated  # nothing is written


@pytest.mark.parametrize(
    ("stated", "labels", "message"),
    [
        ("regression", 2, "'regression' with 2 outputs, expected one: .* a model of its own"),
        ("single_label_classification", 1, "with 1 label, which is always the answer: set config.problem_type"),
    ],
)
def test_outputs_that_mean_nothing_here(stated, labels, message, tiny_bert):
    model = tiny_bert(num_labels=labels)
    model.config.problem_type = stated
    for verb in (lambda: problem_type(model.config), lambda: quantize(model, QuantConfig("1-1-8"))):
        with pytest.raises(ValueError, match=message):
            verb()


def test_a_kind_that_transformers_does_not_know():
    config = BertConfig()
    config.problem_type = "ranking"
    with pytest.raises(ValueError, match="problem_type of the configuration is 'ranking', expected one of 'single_"):
        problem_type(config)


@pytest.mark.parametrize(
    "names", [["a", "b"], {0: "a"}, {0: "a", 2: "b"}, {"0": "a", "1": "b"}, {0: "a", 1: " "}, {0: "a", 1: "b\x1b[31m"}]
)
def test_names_that_are_none(names):
    with pytest.raises(ValueError, match="names is .*, expected a name of its own for each of 0 to 1: correct them"):
        check_names("names", names, 2, "correct them")
    assert check_names("names", {1: "tr\u00e8s bien", 0: 7}, 2, "")

from itertools import pairwise

import pytest
import torch

from xtcq.distillation import LayerMap, reduce_layers, select_layers
from xtcq.quantization import QuantConfig, quantize


def test_published_lists():
    assert select_layers("skip", 12, 6) == (1, 3, 5, 7, 9, 11)
    assert select_layers("skip", 12, 5) == (2, 4, 6, 8, 10)
    assert select_layers("skip", 12, 4) == (2, 5, 8, 11)
    assert select_layers("skip", 6, 3) == (1, 3, 5)
    assert select_layers("top", 12, 6) == (6, 7, 8, 9, 10, 11)
    assert select_layers("bottom", 12, 6) == (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("depth", range(1, 13))
def test_skip_lists_are_always_valid(depth):
    kept = select_layers("skip", 12, depth)
    assert len(set(kept)) == depth and list(kept) == sorted(kept) and 0 <= kept[0] and kept[-1] < 12
    # Evenly spaced: no gap is two layers wider than another.
    gaps = [after - before for before, after in pairwise(kept)]
    assert depth == 1 or max(gaps) - min(gaps) <= 1
    if depth > 6:
        assert kept[-1] == 11


def test_unknown_selection_and_depth():
    with pytest.raises(ValueError, match="layer selection is 'middle', expected one of 'skip', 'top', 'bottom'"):
        select_layers("middle", 12, 6)
    with pytest.raises(ValueError, match="depth of the student is 13, expected an integer from 1 to 12"):
        select_layers("skip", 12, 13)


def test_kept_weights_equal_the_teachers(tiny_bert):
    teacher = tiny_bert(layers=4)
    student = reduce_layers(teacher, (1, 3))
    ours, theirs = student.state_dict(), teacher.state_dict()
    for name, value in ours.items():
        origin = name.replace("layer.1.", "layer.3.").replace("layer.0.", "layer.1.")
        torch.testing.assert_close(value, theirs[origin], rtol=0, atol=0)
    assert student.config.num_hidden_layers == 2 and teacher.config.num_hidden_layers == 4


def test_student_shares_no_memory_with_its_teacher(tiny_bert):
    teacher = tiny_bert(layers=2)
    student = reduce_layers(teacher, (0,))
    with torch.no_grad():
        student.classifier.weight.zero_()
    assert teacher.classifier.weight.abs().sum() > 0


def test_bottom_student_computes_the_teachers_first_layers(tiny_bert, padded_batch):
    teacher = tiny_bert(layers=4).eval()
    student = reduce_layers(teacher, (0, 1))
    with torch.no_grad():
        ours = student(**padded_batch, output_hidden_states=True).hidden_states
        theirs = teacher(**padded_batch, output_hidden_states=True).hidden_states
    for mine, other in zip(ours, theirs[:3], strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("keep", [(), (1, 0), (0, 0), (-1, 1), (0, 4)])
def test_impossible_lists(tiny_bert, keep):
    with pytest.raises(ValueError, match="strictly rising 0-based indices below the teacher's 4 layers"):
        reduce_layers(tiny_bert(layers=4), keep)


def test_a_quantized_model_is_refused(tiny_bert):
    with pytest.raises(ValueError, match="is quantized: reduce the floating-point model, then quantize"):
        reduce_layers(quantize(tiny_bert(layers=4), QuantConfig("1-1-8")), [1, 3])


def test_a_uniform_map_takes_every_k_th_layer():
    every, second = LayerMap.uniform(3, 3), LayerMap.uniform(3, 6)
    assert every == LayerMap(hidden=((0, 0), (1, 1), (2, 2), (3, 3)), attention=((0, 0), (1, 1), (2, 2)))
    assert second == LayerMap(hidden=((0, 0), (1, 2), (2, 4), (3, 6)), attention=((0, 1), (1, 3), (2, 5)))


@pytest.mark.parametrize(
    ("student_layers", "attention", "hidden"),
    [
        (6, [1, 3, 5, 7, 9, 11], [0, 2, 4, 6, 8, 10, 12]),
        (5, [2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]),
        (4, [2, 5, 8, 11], [1, 3, 6, 9, 12]),
    ],
)
def test_kept_layers_of_xtc(student_layers, attention, hidden):
    layer_map = LayerMap.kept(select_layers("skip", 12, student_layers))
    assert [t for _, t in layer_map.attention] == attention
    assert [t for _, t in layer_map.hidden] == hidden
    assert [s for s, _ in layer_map.hidden] == list(range(student_layers + 1))


def test_bottom_student_pairs_embeddings_with_embeddings_not_with_the_last_layer():
    assert LayerMap.kept([0, 1, 2]).hidden[0] == (0, 0)


@pytest.mark.parametrize("depths", [(5, 12), (0, 12), (24, 12)])
def test_impossible_uniform_map(depths):
    with pytest.raises(ValueError, match="multiple of the student's"):
        LayerMap.uniform(*depths)


@pytest.mark.parametrize("keep", [[], [3, 1], [2, 2], [-1, 2]])
def test_impossible_kept_layers(keep):
    with pytest.raises(ValueError, match="strictly rising 0-based indices"):
        LayerMap.kept(keep)


def test_pair_outside_a_model():
    with pytest.raises(ValueError, match=r"student 2, teacher 13.*does not exist"):
        LayerMap.kept([1, 12]).check(2, 12)

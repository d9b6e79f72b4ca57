import pytest

from xtcq.distillation import LayerMap, select_layers


def test_uniform_map_of_equal_depth_pairs_every_layer():
    layer_map = LayerMap.uniform(3, 3)
    assert layer_map.hidden == ((0, 0), (1, 1), (2, 2), (3, 3))
    assert layer_map.attention == ((0, 0), (1, 1), (2, 2))


def test_uniform_map_takes_every_second_layer():
    layer_map = LayerMap.uniform(6, 12)
    assert [t for _, t in layer_map.attention] == [1, 3, 5, 7, 9, 11]
    assert [t for _, t in layer_map.hidden] == [0, 2, 4, 6, 8, 10, 12]


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
    with pytest.raises(ValueError, match="strictly rising order"):
        LayerMap.kept(keep)


def test_pair_outside_a_model():
    with pytest.raises(ValueError, match=r"student 2, teacher 13.*does not exist"):
        LayerMap.kept([1, 12]).check(2, 12)

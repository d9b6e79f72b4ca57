import pytest
from xtcq_book.allocators.space import SearchSpace, random_widths, uniform

SPACE = SearchSpace({f"layer.{i}": size for i, size in enumerate((100, 100, 400, 400, 30))})


def test_the_average_is_bitops_by_weights():
    space = SearchSpace({"a": 100, "b": 300})
    assert space.average({"a": (2, 4), "b": (8, 3)}) == (100 * 8 + 300 * 24) / 400
    assert space.bitops({"a": (2.5, 4), "b": (0, 0)}) == 1000


@pytest.mark.parametrize(
    ("budget", "pair"),
    [(4, (2, 2)), (8, (2, 4)), (11.9, (2, 5)), (12, (3, 4)), (16, (4, 4)), (17, (4, 4)), (64, (8, 8)), (1000, (8, 8))],
)
def test_uniform_takes_the_largest_product_and_then_the_most_even_pair(budget, pair):
    assert uniform(budget) == pair


@pytest.mark.parametrize("budget", [4, 8, 12, 16.3, 40, 64, 100])
def test_random_widths_fill_the_budget_from_below(budget):
    for seed in range(20):
        widths = random_widths(SPACE, budget, seed)
        assert list(widths) == list(SPACE.sizes)
        assert all(2 <= bits <= 8 for pair in widths.values() for bits in pair)
        assert SPACE.average(widths) <= budget
        for name, (w, a) in widths.items():  # no width can be raised any more
            for raised in [(w + 1, a)] * (w < 8) + [(w, a + 1)] * (a < 8):
                assert SPACE.average({**widths, name: raised}) > budget


def test_random_widths_follow_the_seed_and_differ():
    assert random_widths(SPACE, 12, 1) == random_widths(SPACE, 12, 1)
    drawn = [random_widths(SPACE, 12, seed) for seed in range(30)]
    assert len({tuple(widths.values()) for widths in drawn}) > 25
    for name in SPACE.sizes:  # neither sides nor layers are favoured so far that one never varies
        for side in (0, 1):
            assert len({widths[name][side] for widths in drawn}) > 3

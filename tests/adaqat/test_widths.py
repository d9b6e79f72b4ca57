import itertools
import json
import math

import pytest

from xtcq.adaqat import ACTIVATIONS, WEIGHTS, Width, WidthSearch

NEEDED = {(WEIGHTS, 0): 3, (WEIGHTS, 1): 5, (ACTIVATIONS, 0): 4, (ACTIVATIONS, 1): 6}


def search(start=8, layers=2, penalty=0.01, **changes):
    options = {
        "eta": 1.0,
        "reach": 0.5,
        "sizes": [10] * layers,
        "penalties": {WEIGHTS: penalty, ACTIVATIONS: penalty},
    } | changes
    widths = {role: [Width(float(start)) for _ in range(layers)] for role in (WEIGHTS, ACTIVATIONS)}
    return WidthSearch(**widths, **options)


def toy_loss(bits):
    """A quarter for every bit that a width lacks to what it needs."""
    return sum(0.25 * max(0, NEEDED[one] - bits[one]) for one in NEEDED)


def widths(found):
    return {one: found[one].bits for one in NEEDED}


def explore(found, loss=toy_loss, steps=3000):
    """Run a search on the toy; its candidates take turns."""
    for step in range(steps):
        if found.finished:
            break
        free = found.candidates()
        chosen = free if found.together else [free[step % len(free)]]
        now = widths(found)
        found.update({one: loss(now) - loss(now | {one: now[one] - 1}) for one in chosen})
    return found


def optimum(penalty):
    """Minimum over all whole numbers of the toy loss plus the hardware loss whose derivative is the mean pressure."""
    grid = (dict(zip(NEEDED, bits, strict=True)) for bits in itertools.product(range(2, 9), repeat=4))

    def total(bits):
        sums = [sum(value for (role, _), value in bits.items() if role == r) for r in (WEIGHTS, ACTIVATIONS)]
        return toy_loss(bits) + penalty * sums[0] * sums[1] / 2

    return min(grid, key=total)


def test_widths_of_two_layers_reach_the_optimum_oscillate_and_freeze():
    assert optimum(0.01) == NEEDED
    found = explore(search())
    assert found.finished
    assert widths(found) == NEEDED
    for one, bits in NEEDED.items():
        assert found[one].counts[bits] == 11 == sum(found[one].counts)


def test_the_published_count_freezes_one_bit_above():
    found = explore(search(counts="crossings"))
    assert widths(found) == {one: bits + 1 for one, bits in NEEDED.items()}


def test_weights_come_first():
    found = explore(search())
    roles = [role for _, role, _, _ in found.trace]
    assert roles == sorted(roles) and set(roles) == {0, 1}


def test_widths_for_the_network_move_together_and_settle_at_the_greatest_need():
    found = search(layers=1, together=True)

    def loss(bits):
        return 0.5 * max(0, 5 - bits[WEIGHTS, 0]) + 0.5 * max(0, 3 - bits[ACTIVATIONS, 0])

    while not found.finished:
        now = {one: found[one].bits for one in ((WEIGHTS, 0), (ACTIVATIONS, 0))}
        found.update({one: loss(now) - loss(now | {one: now[one] - 1}) for one in found.candidates()})
    assert (found.weights[0].bits, found.activations[0].bits) == (5, 3)
    assert [entry[:3] for entry in found.trace[:4]] == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]]


def test_a_huge_hardware_loss_drives_all_widths_to_the_lower_bound():
    found = explore(search(penalty=1e6, least=3))
    assert found.finished and set(widths(found).values()) == {3}


@pytest.mark.parametrize("difference", [-1e9, 1e9, math.inf, -math.inf, math.nan])
def test_no_update_moves_further_than_the_reach_or_leaves_the_range(difference):
    found = search(start=4)
    for _ in range(30):
        before = found.weights[0].value
        found.update({(WEIGHTS, 0): difference})
        after = found.weights[0]
        assert abs(after.value - before) <= 0.5 and 2 <= after.bits <= 8
    up = not difference > 0 or difference == math.inf  # a loss that cannot be compared is a narrower model that fails
    assert found.weights[0].bits == (8 if up else 2) and found.weights[0].frozen


@pytest.mark.parametrize(("difference", "value"), [(-1.5, 5.5), (1.0, 3.0), (math.nan, 5.0), (-math.inf, 5.0)])
def test_a_step_without_a_reach_goes_where_equation_6_says(difference, value):
    """A loss that cannot be compared says that the bit was needed, so one comes back."""
    found = search(start=4, reach=None, penalty=0.0)
    found.update({(WEIGHTS, 0): difference})
    assert found.weights[0].value == value


def test_one_step_is_equation_6():
    found = search(start=4, eta=0.1, penalties={WEIGHTS: 0.02, ACTIVATIONS: 0.01})
    found.activations[1].value = 6.0
    found.update({(WEIGHTS, 0): -0.3})
    assert found.weights[0].value == pytest.approx(4 - 0.1 * (-0.3 + 0.02 * 5))
    found.update({(ACTIVATIONS, 0): 0.2})
    assert found.activations[0].value == pytest.approx(4 - 0.1 * (0.2 + 0.01 * (5 + 4) / 2))  # 4.02 bits count as 5


def test_a_fractional_width_counts_rounded_up():
    assert [Width(value).bits for value in (2.0, 2.001, 2.999, 3.0, 1.5)] == [2, 3, 3, 3, 2]


def test_one_cycle_is_up_and_back_down_about_the_same_number():
    width = Width(3.0)
    for change in (0.1, -0.2, -0.9, 0.5, 0.6, 1.0, -1.0, -1.0):
        width.move(change)  # bits 4, 3, 2, 3, 4, 4, 4 ...
    assert width.counts[3] == 1
    other = Width(3.0)
    for change in (0.5, -1.0, 1.0, 0.6, -1.0):
        other.move(change)  # 4, 3, 4, 5, 4
    assert (other.counts[3], other.counts[4]) == (1, 1)


def test_state_goes_through_json_exactly():
    found = explore(search(eta=0.37), steps=100)
    other = search()
    other.load_state(json.loads(json.dumps(found.state())))
    assert other.state() == found.state() and widths(other) == widths(found)
    explore(found, steps=50), explore(other, steps=50)
    assert other.trace == found.trace and len(found.trace) == 150


def test_the_published_rate_takes_long():
    penalties = {WEIGHTS: 0.02, ACTIVATIONS: 0.01}
    found = search(start=4, layers=10, eta=0.1, penalties=penalties)
    while found.candidates()[0][0] == WEIGHTS:
        found.update({found.candidates()[0]: 0.0})
    assert found.step / 10 * 73 == pytest.approx(22_800, rel=0.005)
    assert found.updates()[WEIGHTS] == [found.step / 10] * 10 and sum(found.updates()[ACTIVATIONS]) == 0

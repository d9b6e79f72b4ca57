import itertools
import json
import math

import pytest

from xtcq.adaqat import ACTIVATIONS, WEIGHTS, Length, Width, WidthSearch, pressures

NEEDED = {(WEIGHTS, 0): 3, (WEIGHTS, 1): 5, (ACTIVATIONS, 0): 4, (ACTIVATIONS, 1): 6}


def search(start=8, layers=2, penalty=0.01, **changes):
    options = {"eta": 1.0, "sizes": [10] * layers, "penalties": {WEIGHTS: penalty, ACTIVATIONS: penalty}} | changes
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


def test_without_hardware_loss_widths_do_not_fall():
    found = explore(search(penalty=0.0), steps=200)
    assert all(width.value == 8.0 for width in (*found.weights, *found.activations))


def test_a_huge_hardware_loss_drives_all_widths_to_the_lower_bound():
    found = explore(search(penalty=1e6, least=3))
    assert found.finished and set(widths(found).values()) == {3}


@pytest.mark.parametrize("difference", [-1e9, 1e9, math.inf, -math.inf, math.nan])
def test_no_update_moves_more_than_half_a_bit_or_leaves_the_range(difference):
    found = search(start=4)
    for _ in range(30):
        before = found.weights[0].value
        found.update({(WEIGHTS, 0): difference})
        after = found.weights[0]
        assert abs(after.value - before) <= 0.5 and 2 <= after.bits <= 8
    up = not difference > 0 or difference == math.inf  # a loss that cannot be compared is a narrower model that fails
    assert found.weights[0].bits == (8 if up else 2) and found.weights[0].frozen


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
        width.move(change, reach=1.0)  # bits 4, 3, 2, 3, 4, 4, 4 ...
    assert width.counts[3] == 1
    other = Width(3.0)
    for change in (0.5, -1.0, 1.0, 0.6, -1.0):
        other.move(change, reach=1.0)  # 4, 3, 4, 5, 4
    assert (other.counts[3], other.counts[4]) == (1, 1)


def test_pressure_by_bit_operations_has_the_same_mean():
    assert pressures([4, 2], [10, 30], "mean") == [3, 3]
    weighted = pressures([4, 2], [10, 30], "bitops")
    assert sum(weighted) / 2 == pytest.approx(3)
    assert weighted[1] / weighted[0] == pytest.approx(60 / 40)


def test_state_goes_through_json_exactly():
    found = explore(search(eta=0.37), steps=100)
    other = search()
    other.load_state(json.loads(json.dumps(found.state())))
    assert other.state() == found.state() and widths(other) == widths(found)
    explore(found, steps=50), explore(other, steps=50)
    assert other.trace == found.trace and len(found.trace) == 150


@pytest.mark.parametrize(("eta", "reach"), [(0.1, 0.05), (1.0, 0.5), (7.0, 0.5)])
def test_the_reach_follows_the_rate_up_to_half_a_bit(eta, reach):
    found = search(start=4, eta=eta)
    found.update({(WEIGHTS, 0): -1e6})
    assert found.reach == reach and found.weights[0].value == 4 + reach


def test_the_length_of_one_pair_by_hand():
    # Activations: 2 bits at 0.01 * 2 a step, and 11 times one step up and 0.5 / 0.02 = 25 down; weights need half.
    found = search(start=4, layers=1, penalties={WEIGHTS: 0.02, ACTIVATIONS: 0.01}, together=True)
    assert found.length() == Length(pytest.approx(2 / 0.02), 1 + 11 * (1 + 25))
    assert found.length().steps() == 387 and found.length().steps(0.1) == 1287


def test_the_length_of_widths_in_turns_by_hand():
    # Weights fall while the activations have 4 bits, activations in the worst case while all weights have 2.
    found = search(start=4, layers=7, penalties={WEIGHTS: 0.02, ACTIVATIONS: 0.01})
    weights, activations = 2 / 0.08 + 1 + 11 * (1 + 7), 2 / 0.02 + 1 + 11 * (1 + 25)
    assert found.length().steps() == 7 * (weights + activations) == 3507
    found.weights[0].frozen = True
    assert found.length().steps() == 3507 - weights


def test_a_width_is_given_twenty_updates_whatever_freezes_it():
    found = search(start=2, layers=1, penalty=10.0, oscillations=1)
    assert found.length() == Length(0.0, 2 * 21)


@pytest.mark.parametrize("steps", [387, 400, 700, 1286, 1287, 10**6])
def test_the_rate_is_the_smallest_that_suffices(steps):
    length = Length(100.0, 287)
    eta = length.eta(steps)
    assert 0.1 <= eta <= 1 and length.steps(eta) <= steps
    assert eta == 0.1 or length.steps(eta * 0.98) > steps


def test_too_few_steps_have_the_greatest_rate():
    assert Length(100.0, 287).eta(286) == Length(100.0, 287).eta(300) == 1.0


def test_without_resistance_the_length_is_more_than_enough():
    penalties = {WEIGHTS: 0.02, ACTIVATIONS: 0.01}
    for together, pressure in itertools.product((True, False), ("mean", "bitops")):
        sizes = [100] if together else [100, 50, 200, 10]
        options = {"penalties": penalties, "sizes": sizes, "pressure": pressure, "together": together}
        found = search(start=4, layers=len(sizes), **options)
        needed = found.length().steps(found.eta)
        while not found.finished:
            free = found.candidates()
            found.update(dict.fromkeys(free if together else free[:1], 0.0))
        assert needed / 4 < found.step < needed


def test_the_published_rate_takes_long():
    penalties = {WEIGHTS: 0.02, ACTIVATIONS: 0.01}
    found = search(start=4, layers=10, eta=0.1, penalties=penalties)
    while found.candidates()[0][0] == WEIGHTS:
        found.update({found.candidates()[0]: 0.0})
    assert found.step / 10 * 73 == pytest.approx(22_800, rel=0.005)
    assert found.updates()[WEIGHTS] == [found.step / 10] * 10 and sum(found.updates()[ACTIVATIONS]) == 0

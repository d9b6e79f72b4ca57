import math
from itertools import pairwise

import pytest
import torch
from xtcq_book.allocators.fracbits import FracBits
from xtcq_book.allocators.space import LEAST, MOST, SearchSpace, round_to_budget

from xtcq.quantization import bitops, get_widths

SPACE = SearchSpace({f"layer.{i}": size for i, size in enumerate((100, 100, 400, 400, 30))})


def offset_widths(fractional, offset):
    """Widths after adding an offset and rounding half up, as FracBits' bisection has them."""
    return {
        name: tuple(int(min(max(torch.floor(torch.tensor(width + offset + 0.5)), LEAST), MOST)) for width in p)
        for name, p in fractional.items()
    }


@pytest.mark.parametrize("budget", [5, 9.7, 20])
def test_rounding_is_at_least_as_wide_as_the_largest_offset_and_no_wider_than_the_budget(budget):
    torch.manual_seed(2)
    fractional = {name: tuple((2 + 6 * torch.rand(2)).tolist()) for name in SPACE.sizes}
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        if SPACE.average(offset_widths(fractional, middle)) <= budget:
            low = middle
        else:
            high = middle
    bisected, found = offset_widths(fractional, low), round_to_budget(fractional, SPACE, budget)
    assert SPACE.average(found) <= budget
    assert all(f >= b for name in SPACE.sizes for f, b in zip(found[name], bisected[name], strict=True))
    # what is left of the budget buys no further bit
    for name, (w, a) in found.items():
        for raised in [(w + 1, a)] * (w < 8) + [(w, a + 1)] * (a < 8):
            assert SPACE.average({**found, name: raised}) > budget or raised == bisected[name]


def test_integers_at_the_budget_are_kept():
    widths = {"layer.0": (2, 4), "layer.1": (3, 3), "layer.2": (8, 2), "layer.3": (2, 2), "layer.4": (5, 7)}
    assert round_to_budget(widths, SPACE, SPACE.average(widths)) == widths


def search(model, budget=12.0, steps=10):
    return FracBits(model, budget, steps=steps)


def put(found, weights, inputs):
    with torch.no_grad():
        found.values[:, 0], found.values[:, 1] = weights, inputs
    found._settle()


def name_of(model):
    return next(iter(get_widths(model)))


def test_a_fractional_width_is_the_interpolation_of_its_neighbours(student, padded_batch):
    student.eval()(**padded_batch)  # sets the steps
    found, layer = search(student), student.get_submodule(name_of(student))
    x = torch.randn(4, layer.in_features)
    put(found, 3.25, 5.5)

    def at(bits, quantizer, v):
        quantizer.change_bits(bits, "rescale")
        return quantizer(v)

    with found.observe():
        output = layer(x)
        gradient = torch.autograd.grad(output.sum(), found.values)[0][0]
    weights = [at(bits, layer.weight_quantizer, layer.weight) for bits in (4, 3)]
    inputs = [at(bits, layer.input_quantizer, x) for bits in (6, 5)]
    weight = 0.25 * weights[0] + 0.75 * weights[1]
    mixed = 0.5 * inputs[0] + 0.5 * inputs[1]
    torch.testing.assert_close(output, mixed @ weight.T + layer.bias)
    by_weight = (mixed @ (weights[0] - weights[1]).T).sum()
    by_input = ((inputs[0] - inputs[1]) @ weight.T).sum()
    torch.testing.assert_close(gradient, torch.stack([by_weight, by_input]), rtol=1e-3, atol=1e-4)


def test_the_value_is_continuous_where_a_width_crosses_an_integer(student, padded_batch):
    student.eval()(**padded_batch)
    found = search(student)
    layer = student.get_submodule(name_of(student))
    with found.observe():
        put(found, 4.0001, 4.0001)
        above = layer.weight_quantizer(layer.weight)
        put(found, 3.9999, 3.9999)
        below = layer.weight_quantizer(layer.weight)
    assert get_widths(student)[name_of(student)] == (3, 3)
    torch.testing.assert_close(above, below, rtol=0, atol=1e-3 * above.abs().max().item())


def test_the_widest_width_is_the_quantizer_itself(student, padded_batch):
    student.eval()
    before = student(**padded_batch).logits
    with search(student).observe():
        torch.testing.assert_close(student(**padded_batch).logits, before)
    assert not any(module._forward_hooks for module in student.modules())


def run(student, batch, found, steps):
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    trace = []
    for _ in range(steps):
        optimizer.zero_grad()
        with found.observe():
            loss = student(**batch, labels=torch.tensor([0, 1, 1])).loss
            loss.backward()
        found.step()
        optimizer.step()
        trace.append(found.values.detach().clone())
    return trace


def test_the_search_reaches_the_budget_and_rounding_keeps_it(student, padded_batch):
    found = search(student.eval(), budget=12.0, steps=40)
    trace = run(student, padded_batch, found, 40)
    averages = [found.space.average(dict(zip(found.space.sizes, values.tolist(), strict=True))) for values in trace]
    assert averages[0] > 50 and abs(averages[-1] - 12) < 1.5
    assert all(later < earlier for earlier, later in pairwise(averages[:10]))
    widths = get_widths(student)
    assert widths == round_to_budget(found.fractional, found.space, 12)
    assert 11.8 < found.space.average(widths) <= 12
    assert bitops(student) == found.space.bitops(widths)
    assert all(2 <= bits <= 8 for pair in widths.values() for bits in pair)


def test_widths_that_diverge_are_refused(student):
    found = search(student, budget=12.0, steps=40)
    (math.nan * found.values.sum()).backward()
    with pytest.raises(FloatingPointError, match="diverged at exploration step 0. Lower the learning rate"):
        found.step()


def test_what_the_loss_needs_keeps_its_bits(student):
    # Pretend that the loss falls steeply with the first layer's weight width.
    found = search(student, budget=12.0, steps=60)
    for _ in range(60):
        (-found.values[0, 0]).backward()
        found.step()
    widths = get_widths(student)
    assert widths[name_of(student)][0] == 8 and max(w for w, _ in list(widths.values())[1:]) < 8


def test_the_space_of_a_model_is_what_learns_its_steps(student):
    space = SearchSpace.of(student)
    assert list(space.sizes) == list(get_widths(student)) and len(space.sizes) == 13
    assert space.bitops(get_widths(student)) == bitops(student)

import copy
import math

import pytest
import torch

from xtcq.quantization import LSQQuantizer


def closed_form(v, step, low, high, grad):
    """Value and both gradients of LSQ, element by element in plain Python."""
    value, grad_v, grad_step = [], [], 0.0
    for x, g in zip(v.tolist(), grad.tolist(), strict=True):
        ratio = x / step
        code = round(min(max(ratio, low), high))
        value.append(code * step)
        inside = low < ratio < high
        grad_v.append(g if inside else 0.0)
        grad_step += g * (code - ratio if inside else code)
    return value, grad_v, grad_step / math.sqrt(len(value) * high)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("spread", [0.3, 1.0, 30.0])
def test_value_and_gradients_are_the_closed_formulas(bits, signed, spread):
    torch.manual_seed(bits)
    v = (torch.randn(200, dtype=torch.float64) * spread).requires_grad_()
    grad = torch.randn(200, dtype=torch.float64)
    quantizer = LSQQuantizer(bits, signed).double()
    quantizer.initialize(torch.full((4,), 0.5 * math.sqrt(quantizer.levels[1]) * 0.31))  # a step of 0.31
    out = quantizer(v)
    out.backward(grad)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    step = quantizer.step.item()
    assert step == pytest.approx(0.31, abs=1e-6)
    value, grad_v, grad_step = closed_form(v.detach(), step, low, high, grad)
    assert out.tolist() == pytest.approx(value, abs=1e-12)
    assert v.grad.tolist() == pytest.approx(grad_v, abs=1e-12)
    assert quantizer.step.grad.item() == pytest.approx(grad_step, rel=1e-9, abs=1e-12)


def test_one_signed_bit_has_two_levels():
    v = torch.tensor([-3.0, -0.5, 0.0, 1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    grad = torch.tensor([1.0, 2, 4, 8, 16, 32], dtype=torch.float64)
    quantizer = LSQQuantizer(1).double()
    out = quantizer(v)
    mean = 7 / 6
    assert quantizer.step.item() == pytest.approx(mean, abs=1e-12)
    assert out.tolist() == pytest.approx([-mean, -mean, mean, mean, mean, mean])
    out.backward(grad)
    assert v.grad.tolist() == [0, 2, 4, 8, 16, 0]
    assert quantizer.step.grad.item() == pytest.approx((-1 - 2 + 4 + 8 + 16 + 32) / math.sqrt(6))


def test_values_on_a_bound_keep_their_gradient():
    quantizer = LSQQuantizer(3)
    quantizer.initialize(torch.full((2,), math.sqrt(3) / 2))
    with torch.no_grad():
        quantizer.step.fill_(1.0)
    v = torch.tensor([-4.0, 3.0, -4.001, 3.001], requires_grad=True)
    quantizer(v).sum().backward()
    assert v.grad.tolist() == [1, 1, 0, 0]


def test_rows_learn_apart():
    torch.manual_seed(0)
    v = torch.randn(3, 50, dtype=torch.float64) * torch.tensor([[0.1], [1.0], [10.0]])
    grad = torch.randn(3, 50, dtype=torch.float64)
    whole = LSQQuantizer(4, granularity="row", rows=3).double()
    leaf = v.clone().requires_grad_()
    out = whole(leaf)
    out.backward(grad)
    for row in range(3):
        single = LSQQuantizer(4).double()
        part = v[row].clone().requires_grad_()
        torch.testing.assert_close(single(part), out[row])
        single(part).backward(grad[row])
        torch.testing.assert_close(leaf.grad[row], part.grad)
        torch.testing.assert_close(whole.step.grad[row, 0], single.step.grad)


@pytest.mark.parametrize(("bits", "high"), [(2, 1), (3, 3), (4, 7), (8, 127)])
def test_first_data_sets_the_step(bits, high):
    x = torch.tensor([[1.0, -2.0], [3.0, -6.0]])
    quantizer = LSQQuantizer(bits)
    parameter = quantizer.step
    assert not quantizer.initialized
    quantizer(x)
    assert quantizer.initialized
    assert quantizer.step is parameter  # an optimizer that holds it still holds it
    assert quantizer.step.item() == pytest.approx(2 * 3 / math.sqrt(high))
    quantizer(100 * x)
    assert quantizer.step.item() == pytest.approx(2 * 3 / math.sqrt(high))


def test_all_zero_first_data_leaves_a_step_that_can_learn():
    quantizer = LSQQuantizer(4)
    assert torch.equal(quantizer(torch.zeros(5)), torch.zeros(5))
    assert quantizer.step.item() == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("options", [{"bits": 4}, {"bits": 1}, {"bits": 3, "granularity": "row", "rows": 2}], ids=str)
def test_the_first_finite_data_set_the_step(options, bad):
    x = torch.tensor([[1.0, -2.0], [3.0, -6.0]])
    quantizer, fresh = LSQQuantizer(**options), LSQQuantizer(**options)
    first = x.clone()
    first[0, 1] = bad
    out = quantizer(first)
    assert not quantizer.initialized and torch.isfinite(out[1]).all()
    assert torch.isnan(out[0, 1]) == math.isnan(bad)
    assert torch.equal(quantizer(x), fresh(x))
    assert quantizer.initialized and torch.equal(quantizer.step, fresh.step)


def test_nan_comes_out_of_one_signed_bit_and_reaches_the_step():
    quantizer = LSQQuantizer(1)
    quantizer.initialize(torch.ones(3))
    x = torch.tensor([math.nan, -0.0, -7.0, math.inf])
    out = quantizer(x)
    assert torch.isnan(out[0]) and out[1:].tolist() == [1, -1, 1]
    out.sum().backward()
    assert torch.isnan(quantizer.step.grad)


def test_initialized_survives_a_checkpoint():
    quantizer = LSQQuantizer(4)
    quantizer(torch.full((8,), 3.0))
    restored = LSQQuantizer(4)
    restored.load_state_dict(copy.deepcopy(quantizer.state_dict()))
    step = restored.step.item()
    restored(torch.full((8,), 1000.0))
    assert restored.step.item() == step == quantizer.step.item()
    copied = copy.deepcopy(restored)
    copied(torch.full((8,), 1e6))
    assert copied.step.item() == step


def test_buffers_that_were_copied_count_before_the_first_data():
    """As AveragedModel and a broadcast do it: without a state dict."""
    quantizer, average = LSQQuantizer(4), LSQQuantizer(4)
    quantizer(torch.full((8,), 3.0))
    quantizer.change_bits(2, "rescale")
    for own, other in zip((*average.parameters(), *average.buffers()), (*quantizer.parameters(), *quantizer.buffers())):
        own.data.copy_(other)
    x = torch.tensor([0.7, -20.0, 6.0])
    torch.testing.assert_close(average(x), quantizer(x), rtol=0, atol=0)
    assert average.bits == 2


def test_a_checkpoint_from_before_initialisation_is_filled_by_the_next_data():
    quantizer = LSQQuantizer(4)
    quantizer(torch.full((8,), 3.0))
    quantizer.load_state_dict(LSQQuantizer(4).state_dict())
    quantizer(torch.full((8,), 6.0))
    assert quantizer.step.item() == pytest.approx(12 / math.sqrt(7))


@pytest.mark.parametrize("raw", [-0.25, 0.0, 1e-45])
def test_step_in_use_is_positive_whatever_the_optimizer_does(raw):
    x = torch.tensor([0.6, -0.3, 0.0])
    quantizer = LSQQuantizer(4)
    quantizer(x)
    with torch.no_grad():
        quantizer.step.fill_(raw)
    assert quantizer.quantize(x).scale > 0
    out = quantizer(x)
    assert torch.isfinite(out).all()
    assert torch.equal(out.sign(), x.sign())


def test_gradient_of_a_negative_parameter_has_the_other_sign():
    x = torch.randn(50)
    grads = []
    for sign in (1, -1):
        quantizer = LSQQuantizer(3)
        quantizer.initialize(x)
        with torch.no_grad():
            quantizer.step.mul_(sign)
        quantizer(x).square().sum().backward()
        grads.append(quantizer.step.grad)
    assert torch.equal(grads[0], -grads[1])


def test_bits_can_change_and_the_step_stays():
    x = torch.linspace(-3, 3, 101)
    quantizer = LSQQuantizer(8)
    quantizer(x)
    step = quantizer.step.item()
    for bits in (8, 4, 2, 1):
        quantizer.bits = bits
        codes = quantizer.quantize(1000 * x).codes
        assert (codes.min(), codes.max()) == quantizer.levels
        assert quantizer.step.item() == step
    with pytest.raises(ValueError, match="bits is 0, expected an integer from 1 to 8"):
        quantizer.bits = 0


def test_look_up_has_the_values_and_gradients_of_the_whole_table():
    torch.manual_seed(0)
    start = torch.randn(9, 6, dtype=torch.float64)
    ids = torch.tensor([[0, 3, 3], [8, 1, 0]])
    grad = torch.randn(2, 3, 6, dtype=torch.float64)
    for options in ({}, {"granularity": "row", "rows": 9}):
        results = []
        for whole in (True, False):
            quantizer = LSQQuantizer(3, **options).double()
            table = start.clone().requires_grad_()
            out = quantizer(table)[ids] if whole else quantizer.look_up(table, ids)
            out.backward(grad)
            results.append((out, quantizer.step, table.grad, quantizer.step.grad))
        for left, right in zip(*results, strict=True):
            torch.testing.assert_close(left, right)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 9}, "bits is 9, expected an integer from 1 to 8"),
        ({"bits": 2.5}, "bits is 2.5"),
        ({"bits": 4, "granularity": "token"}, "LSQQuantizer is 'token', expected one of 'tensor', 'row'"),
        ({"bits": 4, "granularity": "row"}, "rows is None with granularity 'row': give the number of rows"),
        ({"bits": 4, "rows": 3}, "rows is 3 with granularity 'tensor'"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        LSQQuantizer(**arguments)


FACTORS = {(8, 4): (127 / 7) ** 0.5, (4, 3): (7 / 3) ** 0.5, (2, 1): 0.5, (1, 4): 2 / 7**0.5, (4, 4): 1.0}


@pytest.mark.parametrize(("bits", "factor"), FACTORS.items(), ids=str)
def test_a_rescaled_step_is_the_first_step_at_the_new_width(bits, factor):
    x = torch.tensor([0.3, -1.2, 2.5, 0.0], dtype=torch.float64)
    before, after = bits
    quantizer, fresh = (LSQQuantizer(b).double() for b in bits)
    quantizer(x), fresh(x)
    first = quantizer.step.item()
    quantizer.change_bits(after, "rescale")
    assert quantizer.bits == after
    assert quantizer.step.item() == pytest.approx(first * factor)
    assert quantizer.step.item() == pytest.approx(fresh.step.item())
    quantizer.change_bits(before, "rescale")
    assert quantizer.step.item() == pytest.approx(first)


def test_an_unsigned_step_is_rescaled_by_its_own_levels():
    quantizer = LSQQuantizer(4, signed=False)
    quantizer(torch.tensor([1.0, 3.0]))
    quantizer.change_bits(1, "rescale")
    assert quantizer.step.item() == pytest.approx(2 * 2.0)  # 2 mean|v| / sqrt(1)


def test_a_kept_step_does_not_move_and_an_unset_one_waits_for_data():
    kept, unset = LSQQuantizer(8), LSQQuantizer(8)
    kept(torch.ones(3))
    step = kept.step.item()
    kept.change_bits(2, "keep")
    assert kept.step.item() == step
    unset.change_bits(2, "rescale")
    unset(torch.ones(3))
    assert unset.step.item() == pytest.approx(2.0)
    with pytest.raises(ValueError, match="rescaling is 'halve', expected one of 'keep', 'rescale'"):
        kept.change_bits(3, "halve")
    assert kept.bits == 2


def test_the_width_survives_a_checkpoint():
    quantizer = LSQQuantizer(8)
    quantizer.bits = 3
    restored = LSQQuantizer(4)
    restored.load_state_dict(quantizer.state_dict())
    assert restored.bits == 3 and restored.levels == (-4, 3)
    assert copy.deepcopy(restored).state_dict()["width"] == 3


@pytest.mark.parametrize("rescaling", ["keep", "rescale"])
@pytest.mark.parametrize(("before", "after"), [(4, 5), (8, 2), (2, 1), (1, 3)])
def test_looking_at_another_width_gives_what_changing_to_it_gives(before, after, rescaling):
    torch.manual_seed(0)
    x, quantizer = torch.randn(50), LSQQuantizer(before)
    quantizer(x)
    seen = quantizer.forward_at(x, after, rescaling)
    assert quantizer.bits == before and quantizer.width == before
    gradient = torch.autograd.grad(seen.sum(), quantizer.step)[0]
    old = quantizer.step.item()
    quantizer.change_bits(after, rescaling)
    changed = quantizer(x)
    torch.testing.assert_close(seen, changed)
    # The chain rule: the step that is looked at is a multiple of the step that learns.
    expected = torch.autograd.grad(changed.sum(), quantizer.step)[0] * (quantizer.step.item() / old)
    torch.testing.assert_close(gradient, expected)


def test_another_width_must_be_one():
    quantizer = LSQQuantizer(4)
    with pytest.raises(ValueError, match="bits is 9"):
        quantizer.forward_at(torch.ones(2), 9)
    with pytest.raises(ValueError, match="rescaling is 'move'"):
        quantizer.forward_at(torch.ones(2), 5, "move")
    assert quantizer.bits == 4

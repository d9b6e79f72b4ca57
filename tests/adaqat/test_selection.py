import pytest
import torch

from xtcq.adaqat.selection import choose, narrowed, reduction_error
from xtcq.quantization import LSQQuantizer


def by_hand(quantizer, x, steps):
    """Equation 7 from two quantizers."""
    narrow = LSQQuantizer(quantizer.bits, quantizer.signed)
    narrow.load_state_dict(quantizer.state_dict())
    narrow.change_bits(quantizer.bits - 1, steps)
    with torch.no_grad():
        return (quantizer(x) - narrow(x)).square().mean()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("steps", ["keep", "rescale"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_error_is_equation_7(bits, steps, signed):
    torch.manual_seed(bits)
    x = torch.randn(7, 33) * 3
    quantizer = LSQQuantizer(bits, signed)
    quantizer(x)
    with torch.no_grad():
        quantizer.step.copy_(x.abs().max() / quantizer.levels[1])  # the range that one bit less does not reach
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    found = reduction_error(quantizer, x, steps)
    assert found > 0
    torch.testing.assert_close(found, by_hand(quantizer, x, steps))
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_one_bit_has_nothing_less():
    quantizer = LSQQuantizer(1)
    assert reduction_error(quantizer, torch.randn(4), "keep") == 0


def test_narrowed_gives_everything_back_while_a_graph_waits():
    x = torch.randn(20, requires_grad=True)
    quantizer = LSQQuantizer(4)
    loss = quantizer(x).square().sum()
    step = quantizer.step.item()
    with pytest.raises(KeyError), narrowed([quantizer], "rescale"):
        assert quantizer.bits == 3 and quantizer.step.item() == pytest.approx(step * (7 / 3) ** 0.5)
        raise KeyError
    assert quantizer.bits == 4 == quantizer.width and quantizer.step.item() == step
    loss.backward()
    assert quantizer.step.grad is not None


def test_the_smallest_error_is_chosen():
    assert choose({4: torch.tensor(2.0), 7: torch.tensor(1.0), 9: torch.tensor(1.0)}) == 7
    assert choose({4: torch.tensor(torch.nan), 7: torch.tensor(5.0)}) == 7

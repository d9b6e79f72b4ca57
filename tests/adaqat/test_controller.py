import copy
import json
import math
import re

import pytest
import torch

from xtcq import AdaQAT, quantize
from xtcq.adaqat import ACTIVATIONS, WEIGHTS, AdaQATSettings, narrowed, reduction_error
from xtcq.quantization import LSQQuantizer, QuantConfig, bitops, get_widths, set_widths

POOLER = "bert.pooler.dense"


def controller(model, length=100, state=None, **settings):
    return AdaQAT(model, AdaQATSettings(**settings), steps=length, state=state)


def advance(adaqat, model, batch):
    with adaqat.observe():
        loss = model(**batch).loss
    adaqat.step(loss, lambda: model(**batch).loss)
    return loss.item()


def gradient_of(adaqat, coordinate, before, settings, pressure):
    """Undo Equation 6: the finite difference that moved a width from `before`."""
    penalty = {WEIGHTS: settings.lambda_weights, ACTIVATIONS: settings.lambda_activations}[coordinate[0]]
    return (before - adaqat.widths[coordinate].value) / adaqat.widths.eta - penalty * pressure


@pytest.mark.parametrize("role", [WEIGHTS, ACTIVATIONS])
@pytest.mark.parametrize("steps", ["keep", "rescale"])
@pytest.mark.parametrize("layer", [0, 4, 9, 12])
def test_layer_difference_is_ceil_minus_floor_by_hand(learned, role, layer, steps):
    model, batch = learned("4-4-5")
    adaqat = controller(model, eta=1e-3, order="published", steps=steps)
    for other in range(13):
        adaqat.widths[WEIGHTS, other].frozen = role == ACTIVATIONS or other != layer
        adaqat.widths[ACTIVATIONS, other].frozen = other != layer
    adaqat.widths[role, layer].value -= 0.4  # ceil 4 or 5, floor 3 or 4
    before = adaqat.widths[role, layer].value
    name = adaqat.names[layer]
    down = copy.deepcopy(model)
    set_widths(down, {name: (3, 5) if role == WEIGHTS else (4, 4)}, steps)
    with torch.no_grad():
        expected = model(**batch).loss.item() - down(**batch).loss.item()
    advance(adaqat, model, batch)
    assert expected != 0
    pressure = 5 if role == WEIGHTS else 4
    assert gradient_of(adaqat, (role, layer), before, adaqat.settings, pressure) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("head", ["classes", "regression", "questions"])
def test_network_differences_are_ceil_minus_floor_by_hand(learned, head):
    model, batch = learned("4-4-5", head)
    adaqat = controller(model, eta=1e-3, granularity="network")
    for role in (WEIGHTS, ACTIVATIONS):
        adaqat.widths[role, 0].value -= 0.5
    losses = {}
    for pair in ((4, 5), (3, 5), (4, 4)):
        down = copy.deepcopy(model)
        set_widths(down, dict.fromkeys(get_widths(model), pair))
        with torch.no_grad():
            losses[pair] = down(**batch).loss.item()
    assert advance(adaqat, model, batch) == losses[4, 5]
    for role, pair, start, pressure in ((WEIGHTS, (3, 5), 3.5, 5), (ACTIVATIONS, (4, 4), 4.5, 4)):
        found = gradient_of(adaqat, (role, 0), start, adaqat.settings, pressure)
        assert found == pytest.approx(losses[4, 5] - losses[pair], rel=1e-4)


def test_pairing_removes_the_noise_of_dropout_and_leaves_the_random_state(learned):
    model, batch = learned(layers=1)
    model.train()
    values = {}
    for paired in (True, False):
        adaqat = controller(copy.deepcopy(model), eta=1e-3, paired=paired)
        adaqat.widths.weights[-1].value = 4.0  # the pooler, after which nothing of the encoder is left
        for width in adaqat.widths.weights[:-1]:
            width.frozen = True
        differences = []
        for seed in range(6):
            torch.manual_seed(seed)
            before = adaqat.widths.weights[-1].value
            advance(adaqat, adaqat._model, batch)
            state = torch.get_rng_state()
            differences.append(gradient_of(adaqat, (WEIGHTS, 6), before, adaqat.settings, 4))
            torch.manual_seed(seed)
            model(**batch)
            assert torch.equal(state, torch.get_rng_state()) == paired
        values[paired] = torch.tensor(differences)
    assert values[True].std() < values[False].std() / 2


def test_activations_are_chosen_by_the_smallest_error_on_the_batch(learned):
    model, batch = learned()
    adaqat = controller(model, eta=1e-6)
    errors = {}
    for i, name in enumerate(adaqat.names):
        adaqat.widths.weights[i].frozen = True
        layer = model.get_submodule(name)
        handle = layer.register_forward_pre_hook(
            lambda layer, x, i=i: errors.__setitem__(i, float(reduction_error(layer.input_quantizer, x[0], "keep")))
        )
        layer.handle = handle
    model(**batch)
    for name in adaqat.names:
        model.get_submodule(name).handle.remove()
    advance(adaqat, model, batch)
    assert adaqat.widths.trace[-1][1:3] == [1, min(errors, key=errors.get)]
    assert len(set(errors.values())) > 6


def test_published_order_goes_through_the_layers(learned):
    model, batch = learned(layers=1)
    adaqat = controller(model, lambda_weights=1e3, lambda_activations=1e3, order="published")
    while not adaqat.finished:
        advance(adaqat, model, batch)
    visited = [(role, layer) for _, role, layer, _ in adaqat.widths.trace]
    assert list(dict.fromkeys(visited)) == [(role, layer) for role in (0, 1) for layer in range(7)]
    assert visited == sorted(visited)


@pytest.mark.parametrize("granularity", ["layer", "kind", "block", "network"])
def test_a_huge_hardware_loss_ends_at_the_lower_bound_in_the_model_too(learned, granularity):
    model, batch = learned(layers=1)
    before = bitops(model)
    adaqat = controller(model, lambda_weights=1e3, lambda_activations=1e3, granularity=granularity)
    count = 0
    while not adaqat.finished:
        advance(adaqat, model, batch)
        count += 1
    assert set(get_widths(model).values()) == {(2, 2)} and bitops(model) == before / 4
    report = adaqat.report()
    assert report["ended"] == "frozen" and report["steps"] == count
    assert set(map(tuple, report["widths"].values())) == {(2, 2)} and report["mean_weights"] == 2
    advance(adaqat, model, batch)  # a finished search stays as it is
    assert adaqat.report() == report and json.loads(json.dumps(report)) == report


def test_only_the_passes_of_the_phase_run(learned):
    model, batch = learned()
    model.train()
    # Of pairs the first step has one more, in which nothing is narrower.
    for settings, expected in (({}, 2), ({"granularity": "network"}, 3), ({"paired": False}, 1)):
        adaqat = controller(copy.deepcopy(model), **settings)
        passes = []
        with adaqat.observe():
            loss = adaqat._model(**batch).loss
            loss.backward()
        adaqat.step(loss, lambda a=adaqat, p=passes: (p.append(torch.is_grad_enabled()), a._model(**batch).loss)[1])
        assert passes == [False] * expected


def test_a_state_goes_on_bit_for_bit(learned):
    whole, batch = learned()
    whole.train()
    cut = copy.deepcopy(whole)
    settings = {"lambda_weights": 0.5, "steps": "rescale", "eta": 1.0}
    first, second = controller(whole, **settings), controller(cut, **settings)
    torch.manual_seed(0)
    for _ in range(30):
        advance(first, whole, batch)
    torch.manual_seed(0)
    for _ in range(13):
        advance(second, cut, batch)
    saved, weights = json.loads(json.dumps(second.state())), copy.deepcopy(cut.state_dict())
    masks = torch.get_rng_state()
    again = learned("6-4-7")[0].train()
    again.load_state_dict(weights)
    third = controller(again, length=7, state=saved, **settings)
    torch.set_rng_state(masks)
    for _ in range(17):
        advance(third, again, batch)
    assert third.state() == first.state() and get_widths(again) == get_widths(whole)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_state_of_another_model_is_refused(learned):
    model, batch = learned()
    state = controller(model).state()
    with pytest.raises(ValueError, match="the state has 13 weight widths, BertForSequenceClassification has 7"):
        controller(learned(layers=1)[0], state=state)
    with pytest.raises(ValueError, match="says 4 bits for the weights of bert.encoder.* and the model has 5"):
        controller(learned("5-4-4")[0], state=state)


def test_a_loss_that_is_not_finite_is_refused(learned):
    model, batch = learned()
    adaqat = controller(model)
    with pytest.raises(FloatingPointError, match="loss is nan at exploration step 0, so widths cannot be compared"):
        adaqat.step(math.nan, lambda: model(**batch).loss)


def test_a_narrower_model_whose_loss_is_not_finite_moves_the_width_up(learned):
    model, batch = learned()
    adaqat = controller(model, order="published")
    adaqat.widths.reach = 0.3
    with adaqat.observe():
        loss = model(**batch).loss
    answers = iter([loss, torch.tensor(math.inf)])
    adaqat.step(loss, lambda: next(answers))
    value = adaqat.widths.weights[0].value
    assert value == 4.3
    assert get_widths(model)[adaqat.names[0]] == (math.ceil(value), 4)


@pytest.mark.parametrize(
    ("precision", "recipe", "settings", "message"),
    [
        (None, None, {}, "nothing of BertForSequenceClassification is quantized: call quantize"),
        ("2-2-8", "xtc", {}, "does not learn the steps of both its weight and its input"),
        ("4-4-32", "adaqat", {}, "does not learn the steps of both"),
        ("4-4-4", "adaqat", {"least": 5}, "starts with \\(4, 4\\) bits, and widths shall be from 5 to 8"),
        ("4-4-8", "adaqat", {"most": 6}, "starts with \\(4, 8\\) bits, and widths shall be from 2 to 6"),
    ],
)
def test_a_model_that_cannot_explore_is_refused(tiny_bert, precision, recipe, settings, message):
    model = tiny_bert() if precision is None else quantize(tiny_bert(), QuantConfig(precision, recipe))
    with pytest.raises(ValueError, match=message):
        controller(model, **settings)


def test_one_width_for_the_network_needs_one_start(learned):
    model, _ = learned()
    set_widths(model, {POOLER: (5, 4)})
    with pytest.raises(ValueError, match="the 12 layers that share its width start with weights of 4 and 5 bits"):
        controller(model, granularity="network")
    assert controller(model, granularity="kind").groups[-1] == [12]  # the pooler shares its width with none
    assert controller(model).widths.weights[-1].value == 5.0
    with pytest.raises(
        ValueError, match="steps is 0, expected an integer of at least 1: the number of exploration steps"
    ):
        controller(model, length=0)


@pytest.mark.parametrize("role", [WEIGHTS, ACTIVATIONS])
@pytest.mark.parametrize(
    ("granularity", "group", "pattern"),
    [
        ("kind", 1, r"bert\.encoder\.layer\.\d\.attention\.self\.key"),
        ("kind", 5, r"bert\.encoder\.layer\.\d\.output\.dense"),
        ("block", 1, r"bert\.encoder\.layer\.1\..*"),
        ("block", 2, re.escape(POOLER)),
    ],
)
def test_a_group_loses_the_bit_together(learned, granularity, group, pattern, role):
    model, batch = learned("4-4-5")
    model.train()
    adaqat = controller(model, eta=1e-3, order="published", granularity=granularity)
    for other in range(len(adaqat.groups)):
        adaqat.widths[WEIGHTS, other].frozen = role == ACTIVATIONS or other != group
        adaqat.widths[ACTIVATIONS, other].frozen = other != group
    layers = [name for name in adaqat.names if re.fullmatch(pattern, name)]
    assert layers == [adaqat.names[layer] for layer in adaqat.groups[group]]
    down = copy.deepcopy(model)
    set_widths(down, dict.fromkeys(layers, (3, 5) if role == WEIGHTS else (4, 4)))
    losses = []
    for one in (model, down):
        torch.manual_seed(7)
        with torch.no_grad():
            losses.append(one(**batch).loss.item())
    before = adaqat.widths[role, group].value
    torch.manual_seed(7)
    assert advance(adaqat, model, batch) == losses[0]
    found = gradient_of(adaqat, (role, group), before, adaqat.settings, 5 if role == WEIGHTS else 4)
    assert losses[0] != losses[1] and found == pytest.approx(losses[0] - losses[1], rel=1e-4)
    # Whether it moved up or down, all of the group have the new width and nobody else has.
    changed = {name for name, pair in get_widths(model).items() if pair != (4, 5)}
    assert changed == (set(layers) if adaqat.widths[role, group].value > before else set())


@pytest.mark.parametrize("granularity", ["layer", "kind", "block"])
def test_the_group_that_moves_is_the_one_with_the_smallest_mean_error_of_its_weights(learned, granularity):
    model, batch = learned()
    adaqat = controller(model, eta=1e-6, granularity=granularity)
    layers = [model.get_submodule(name) for name in adaqat.names]
    errors = [float(reduction_error(layer.weight_quantizer, layer.weight, "keep")) for layer in layers]
    means = [sum(errors[layer] for layer in group) / len(group) for group in adaqat.groups]
    for expected in sorted(range(len(means)), key=means.__getitem__)[:3]:
        advance(adaqat, model, batch)
        assert adaqat.widths.trace[-1][1:3] == [0, expected]
        adaqat.widths.weights[expected].frozen = True


def test_a_second_pass_of_a_group_begins_at_its_first_layer(learned):
    model, batch = learned(layers=3)
    adaqat, ran = controller(model, order="published", granularity="block"), []
    for i, layer in enumerate(model.bert.encoder.layer):
        layer.output.register_forward_hook(lambda *args, i=i: ran.append(i))
    for group, expected in ((1, [1, 2]), (3, [])):
        for other, width in enumerate(adaqat.widths.weights):
            width.frozen = other != group
        with adaqat.observe():
            loss = model(**batch).loss
        ran.clear()
        adaqat.step(loss, lambda: model(**batch).loss)
        assert ran == expected


@pytest.mark.parametrize("granularity", ["layer", "kind", "block", "network"])
def test_the_ends_keep_eight_bits(learned, granularity):
    model, batch = learned()
    fixed = {"lambda_weights": 1e3, "lambda_activations": 1e3, "most": 6}
    adaqat = controller(model, granularity=granularity, ends=True, **fixed)
    while not adaqat.finished:
        advance(adaqat, model, batch)
    widths = get_widths(model)
    first, last = adaqat.names[0], adaqat.names[-1]
    assert first.endswith("layer.0.attention.self.query") and last == POOLER
    assert widths == dict.fromkeys(widths, (2, 2)) | {first: (8, 8), last: (8, 2)}
    assert adaqat.report()["widths"][last] == [8, 2]
    again = AdaQAT(model, adaqat.settings, steps=100, state=adaqat.state())
    assert again.report() == adaqat.report()


@pytest.mark.parametrize(
    ("granularity", "order", "factor", "needs"),
    [
        ("network", "paper", 1, (4, 2)),
        ("kind", "published", 4, (2, 4)),
        ("kind", "paper", 8, (2, 3)),
        ("block", "paper", 8, (3, 4)),
    ],
    ids=str,
)
def test_a_planted_need_is_found_in_a_model(learned, granularity, order, factor, needs):
    """The loss rises by half a unit for every bit that a group lacks; under more pressure, by as much more."""
    model, batch = learned(layers=1 if granularity == "network" else 2)
    under = {"lambda_weights": 0.02 * factor, "lambda_activations": 0.01 * factor}
    settings = AdaQATSettings(granularity=granularity, order=order, paired=False, eta=1, **under)
    layers = {name: module for name, module in model.named_modules() if name in get_widths(model)}
    adaqat = AdaQAT(model, settings, steps=10_000)
    adaqat.widths.reach = 0.5

    def loss():
        pairs = [[bits.bits for bits in (m.weight_quantizer, m.input_quantizer)] for m in layers.values()]
        lacking = [sum(max(0, need - bits) for need, bits in zip(needs, pair, strict=True)) for pair in pairs]
        return torch.tensor(0.5 * factor * sum(lacking[group[0]] for group in adaqat.groups))

    while not adaqat.finished and adaqat.widths.step < adaqat.steps:
        with adaqat.observe(), torch.no_grad():
            if order == "paper":  # the errors of activations are measured in the pass
                model(**batch)
        adaqat.step(loss(), loss)
    assert adaqat.finished
    assert set(get_widths(model).values()) == {needs}


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


@pytest.mark.parametrize("granularity", ["layer", "network"])
def test_a_scaled_loss_and_another_batch_cannot_be_compared(learned, granularity):
    """Half a loss, as for accumulated gradients, would move every width the wrong way."""
    model, batch = learned()
    other = batch | {"labels": 1 - batch["labels"]}
    for scale, again in ((0.5, batch), (1.0, other)):
        adaqat = controller(model, granularity=granularity)
        before = adaqat.state()
        with adaqat.observe():
            loss = scale * model(**batch).loss
        with pytest.raises(ValueError, match="with no width changed, and the loss of the step is"):
            adaqat.step(loss, lambda again=again: model(**again).loss)
        assert adaqat.state() == before
    with adaqat.observe():
        loss = model(**batch).loss
        (0.5 * loss).backward()
    adaqat.step(loss, lambda: model(**batch).loss)
    with pytest.raises(RuntimeError, match=r"inside `with adaqat.observe\(\):`"):
        adaqat.step(loss, lambda: model(**batch).loss)

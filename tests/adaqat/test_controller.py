import copy
import json
import math

import pytest
import torch

from xtcq import AdaQAT, quantize
from xtcq.adaqat import ACTIVATIONS, WEIGHTS, AdaQATSettings, reduction_error
from xtcq.quantization import QuantConfig, bitops, get_widths, set_widths

POOLER = "bert.pooler.dense"


def controller(model, length=100, **settings):
    return AdaQAT(model, AdaQATSettings(**settings), steps=length)


def advance(adaqat, model, batch):
    with adaqat.observe():
        loss = model(**batch).loss
    adaqat.step(loss, lambda: model(**batch).loss)
    return loss.item()


def gradient_of(adaqat, coordinate, before, settings, pressure):
    """Undo Equation 6: the finite difference that moved a width from `before`."""
    penalty = {WEIGHTS: settings.lambda_weights, ACTIVATIONS: settings.lambda_activations}[coordinate[0]]
    return (before - adaqat.search[coordinate].value) / adaqat.search.eta - penalty * pressure


@pytest.mark.parametrize("role", [WEIGHTS, ACTIVATIONS])
@pytest.mark.parametrize("steps", ["keep", "rescale"])
@pytest.mark.parametrize("layer", [0, 4, 9, 12])
def test_layer_difference_is_ceil_minus_floor_by_hand(learned, role, layer, steps):
    model, batch = learned("4-4-5")
    adaqat = controller(model, eta=1e-3, order="published", steps=steps)
    for other in range(13):
        adaqat.search[WEIGHTS, other].frozen = role == ACTIVATIONS or other != layer
        adaqat.search[ACTIVATIONS, other].frozen = other != layer
    adaqat.search[role, layer].value -= 0.4  # ceil 4 or 5, floor 3 or 4
    before = adaqat.search[role, layer].value
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
        adaqat.search[role, 0].value -= 0.5
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


def test_at_a_whole_number_the_difference_is_to_one_bit_less(learned):
    model, batch = learned()
    adaqat = controller(model, eta=1e-3, order="published")
    down = copy.deepcopy(model)
    set_widths(down, {adaqat.names[0]: (3, 4)})
    with torch.no_grad():
        expected = model(**batch).loss.item() - down(**batch).loss.item()
    advance(adaqat, model, batch)
    assert gradient_of(adaqat, (WEIGHTS, 0), 4.0, adaqat.settings, 4) == pytest.approx(expected, rel=1e-4)


def test_pairing_removes_the_noise_of_dropout_and_leaves_the_random_state(learned):
    model, batch = learned(layers=1)
    model.train()
    values = {}
    for paired in (True, False):
        adaqat = controller(copy.deepcopy(model), eta=1e-3, paired=paired)
        adaqat.search.weights[-1].value = 4.0  # the pooler, after which nothing of the encoder is left
        for width in adaqat.search.weights[:-1]:
            width.frozen = True
        differences = []
        for seed in range(6):
            torch.manual_seed(seed)
            before = adaqat.search.weights[-1].value
            advance(adaqat, adaqat._model, batch)
            state = torch.get_rng_state()
            differences.append(gradient_of(adaqat, (WEIGHTS, 6), before, adaqat.settings, 4))
            torch.manual_seed(seed)
            model(**batch)
            assert torch.equal(state, torch.get_rng_state()) == paired
        values[paired] = torch.tensor(differences)
    assert values[True].std() < values[False].std() / 2


def test_weights_are_chosen_by_the_smallest_error_of_all_candidates(learned):
    model, batch = learned()
    adaqat = controller(model, eta=1e-6)
    layers = [model.get_submodule(name) for name in adaqat.names]
    errors = [float(reduction_error(layer.weight_quantizer, layer.weight, "keep")) for layer in layers]
    ranking = sorted(range(13), key=errors.__getitem__)
    for expected in ranking[:3]:
        advance(adaqat, model, batch)
        assert adaqat.search.trace[-1][1:3] == [0, expected]
        adaqat.search.weights[expected].frozen = True


def test_activations_are_chosen_by_the_smallest_error_on_the_batch(learned):
    model, batch = learned()
    adaqat = controller(model, eta=1e-6)
    errors = {}
    for i, name in enumerate(adaqat.names):
        adaqat.search.weights[i].frozen = True
        layer = model.get_submodule(name)
        handle = layer.register_forward_pre_hook(
            lambda layer, x, i=i: errors.__setitem__(i, float(reduction_error(layer.input_quantizer, x[0], "keep")))
        )
        layer.handle = handle
    model(**batch)
    for name in adaqat.names:
        model.get_submodule(name).handle.remove()
    advance(adaqat, model, batch)
    assert adaqat.search.trace[-1][1:3] == [1, min(errors, key=errors.get)]
    assert len(set(errors.values())) > 6


def test_published_order_goes_through_the_layers(learned):
    model, batch = learned(layers=1)
    adaqat = controller(model, lambda_weights=1e3, lambda_activations=1e3, order="published")
    while not adaqat.finished:
        advance(adaqat, model, batch)
    visited = [(role, layer) for _, role, layer, _ in adaqat.search.trace]
    assert list(dict.fromkeys(visited)) == [(role, layer) for role in (0, 1) for layer in range(7)]
    assert visited == sorted(visited)


@pytest.mark.parametrize("granularity", ["layer", "network"])
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
    for settings, expected in (({}, 1), ({"granularity": "network"}, 2), ({"paired": False}, 1)):
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
    again = learned("6-4-7")[0].train()
    again.load_state_dict(weights)
    third = controller(again, length=7, **settings)
    third.load_state(saved)
    for _ in range(17):
        advance(third, again, batch)
    assert third.state() == first.state() and get_widths(again) == get_widths(whole)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_state_of_another_model_is_refused(learned):
    model, batch = learned()
    state = controller(model).state()
    with pytest.raises(ValueError, match="the state has 13 weight widths, BertForSequenceClassification has 7"):
        controller(learned(layers=1)[0]).load_state(state)
    with pytest.raises(ValueError, match="says 4 bits for the weights of bert.encoder.* and the model has 5"):
        controller(learned("5-4-4")[0]).load_state(state)


def test_a_loss_that_is_not_finite_is_refused(learned):
    model, batch = learned()
    adaqat = controller(model)
    with pytest.raises(FloatingPointError, match="loss is nan at exploration step 0, so widths cannot be compared"):
        adaqat.step(math.nan, lambda: model(**batch).loss)


def test_a_narrower_model_whose_loss_is_not_finite_moves_the_width_up(learned):
    model, batch = learned()
    adaqat = controller(model, order="published")
    with adaqat.observe():
        loss = model(**batch).loss
    adaqat.step(loss, lambda: torch.tensor(math.inf))
    value = adaqat.search.weights[0].value
    assert value == 4 + adaqat.search.reach
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
    with pytest.raises(ValueError, match="starts with 2 different pairs of widths, and granularity 'network' has one"):
        controller(model, granularity="network")
    assert controller(model).search.weights[-1].value == 5.0
    with pytest.raises(ValueError, match="steps is 0, expected the number of exploration steps"):
        controller(model, length=0)

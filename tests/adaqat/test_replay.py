import pytest
import torch

from xtcq.adaqat import Replay

HEADS = pytest.mark.parametrize("head", ["classes", "regression", "questions"])


@HEADS
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_a_pass_from_any_layer_is_a_whole_pass_to_the_bit(learned, head, train):
    model, batch = learned(head=head, layers=3)
    model.train(train)
    replay = Replay(model)
    torch.manual_seed(5)
    with replay.recording():
        loss = model(**batch).loss
    after = torch.get_rng_state()
    # The narrower layer is somewhere in the part that runs again.
    for start in range(4):
        layers = model.bert.encoder.layer[start:] if start < 3 else [model.bert.pooler] if model.bert.pooler else []
        quantizers = [m.weight_quantizer for layer in layers for m in layer.modules() if hasattr(m, "weight_quantizer")]
        for quantizer in quantizers:
            quantizer.bits = 2
        torch.manual_seed(5)
        with torch.no_grad():
            whole = model(**batch).loss
        torch.set_rng_state(after)
        with torch.no_grad(), replay.from_layer(start):
            again = model(**batch).loss
        assert torch.equal(whole, again)
        assert not quantizers or not torch.equal(whole, loss)
        assert torch.equal(torch.get_rng_state(), after)
        for quantizer in quantizers:
            quantizer.bits = 4


def test_only_what_follows_runs(learned):
    model, batch = learned(layers=3)
    replay, ran = Replay(model), []
    for i, layer in enumerate(model.bert.encoder.layer):
        layer.output.register_forward_hook(lambda *args, i=i: ran.append(i))
    model.bert.embeddings.word_embeddings.register_forward_hook(lambda *args: ran.append("words"))
    with torch.no_grad():
        with replay.recording():
            model(**batch)
        assert ran == ["words", 0, 1, 2]
        for start, expected in ((0, [0, 1, 2]), (2, [2]), (3, [])):
            ran.clear()
            with replay.from_layer(start):
                model(**batch)
            assert ran == expected
        ran.clear()
        model(**batch)
    assert ran == ["words", 0, 1, 2]


def test_positions(learned):
    model, _ = learned(layers=3)
    replay = Replay(model)
    assert replay.position(model.bert.encoder.layer[1].attention.self.key) == 1
    assert replay.position(model.bert.encoder.layer[2].output.dense) == 2
    assert replay.position(model.bert.pooler.dense) == replay.position(model.classifier) == 3


def test_nothing_can_be_replayed_before_a_pass_or_after_forgetting(learned):
    model, batch = learned()
    replay = Replay(model)
    with pytest.raises(RuntimeError, match="no forward pass was remembered"), replay.from_layer(1):
        model(**batch)
    with replay.recording():
        model(**batch)
    replay.forget()
    with pytest.raises(RuntimeError, match="no forward pass was remembered"), replay.from_layer(1):
        model(**batch)

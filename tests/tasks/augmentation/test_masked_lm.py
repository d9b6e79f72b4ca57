import pytest
import torch

from xtcq.tasks.augmentation import MaskedLM, Neighbours, find_words


def sentences(tokenizer, *texts):
    return [find_words(text, tokenizer) for text in texts]


def test_what_the_model_expects_beside_the_unmasked_sentence(masked_lm, piece_tokenizer):
    (words,) = MaskedLM(masked_lm, piece_tokenizer).propose(sentences(piece_tokenizer, "the cat runs."), 3)
    ids = piece_tokenizer("[CLS] the [MASK] runs. [SEP] the cat runs. [SEP]", add_special_tokens=False)["input_ids"]
    types = [0] * 6 + [1] * 5
    with torch.no_grad():
        logits = masked_lm(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[0, 2]
    order = [piece_tokenizer.convert_ids_to_tokens(int(i)) for i in logits.argsort(descending=True)]
    expected = [piece for piece in order if piece.isalpha() and len(piece) > 1 and piece != "cat"]
    assert words[0] == expected[:3] and len(words) == 2


def test_batches_change_nothing(masked_lm, piece_tokenizer):
    texts = ["cat runs", "the red bird sleeps, the dog walks", "blue", "", "green cat . dog"]
    one = MaskedLM(masked_lm, piece_tokenizer, batch_size=1).propose(sentences(piece_tokenizer, *texts), 4)
    assert MaskedLM(masked_lm, piece_tokenizer, batch_size=7).propose(sentences(piece_tokenizer, *texts), 4) == one


def test_the_vocabulary_is_scored_at_masked_words_alone(masked_lm, piece_tokenizer):
    shapes = []
    masked_lm.cls.register_forward_hook(lambda head, inputs, scores: shapes.append(tuple(scores.shape)))
    MaskedLM(masked_lm, piece_tokenizer, batch_size=2).propose(sentences(piece_tokenizer, "cat runs", "red dog"), 1)
    assert shapes == [(2, 20), (2, 20)]


def test_words_of_several_pieces_are_left_to_the_rest(masked_lm, piece_tokenizer):
    rest = Neighbours(["walking", "cat", "dog"], torch.eye(3).numpy() + 0.1)
    text = sentences(piece_tokenizer, "walking cat")
    assert MaskedLM(masked_lm, piece_tokenizer).propose(text, 1)[0][0] == []
    with_rest = MaskedLM(masked_lm, piece_tokenizer, rest=rest)
    assert with_rest.propose(text, 2)[0][0] == rest.propose(text, 2)[0][0] != []
    assert with_rest.digest != MaskedLM(masked_lm, piece_tokenizer).digest


def test_words_beyond_the_models_reach_have_none(masked_lm, piece_tokenizer):
    # 32 positions hold two copies of 14 pieces and three separators.
    (words,) = MaskedLM(masked_lm, piece_tokenizer).propose(sentences(piece_tokenizer, "cat " * 10_000), 2)
    assert [bool(proposal) for proposal in words[:16]] == [True] * 14 + [False] * 2 and not any(words[14:])


def test_a_tokenizer_of_another_model(masked_lm, word_tokenizer):
    with pytest.raises(ValueError, match="the tokenizer has 101 pieces and the masked language model 20: give the tok"):
        MaskedLM(masked_lm, word_tokenizer)

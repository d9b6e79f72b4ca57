import copy

import numpy as np
import pytest
import torch
from tokenizers import normalizers

from xtcq.tasks.augmentation import MaskedLM, Neighbours, candidates, find_words

VECTORS = np.array([[1, 0], [2, 0.1], [1, 1], [0, 1], [5, 5]])
NOTHING = Neighbours(["zebra"], VECTORS[:1])


@pytest.fixture
def neighbours():
    return Neighbours(["cat", "dog", "bird", "red", "42"], VECTORS)


def proposed(source, text, count, tokenizer):
    return source.propose([find_words(text, tokenizer)], count)[0]


def test_nearest_by_the_angle_and_never_the_word_itself(neighbours, piece_tokenizer):
    # "42" is no word; dog is 3 degrees from cat, bird 45, red 90, whatever the lengths.
    assert proposed(neighbours, "cat", 15, piece_tokenizer) == [["dog", "bird", "red"]]
    assert proposed(neighbours, "cat red", 1, piece_tokenizer) == [["dog"], ["bird"]]


def test_a_word_without_a_vector_has_none(neighbours, piece_tokenizer):
    assert proposed(neighbours, "walking cat", 1, piece_tokenizer) == [[], ["dog"]]


def test_an_encoders_own_embeddings(masked_lm, piece_tokenizer):
    with torch.no_grad():
        table = masked_lm.get_input_embeddings().weight
        table[piece_tokenizer.convert_tokens_to_ids("bird")] = 3 * table[piece_tokenizer.convert_tokens_to_ids("cat")]
    source = Neighbours.from_encoder(masked_lm, piece_tokenizer)
    assert "##ing" not in source.words and "." not in source.words and "[MASK]" not in source.words
    assert proposed(source, "cat", 1, piece_tokenizer) == [["bird"]]


def test_many_words_are_looked_up_in_pieces(piece_tokenizer):
    rng = np.random.default_rng(0)
    words = [a + b + c for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyzabcd"]
    vectors = rng.normal(size=(1000, 8))
    source = Neighbours(words, vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T - 2 * np.eye(1000)
    proposals = source.propose([find_words(" ".join(words), piece_tokenizer)], 1)[0]
    kept = [word.text for word in find_words(" ".join(words), piece_tokenizer).words]
    for word, proposal in zip(kept, proposals, strict=True):
        assert proposal == [words[likeness[words.index(word)].argmax()]]


def test_words_without_letters_are_no_words():
    with pytest.raises(ValueError, match="none of the 1 words has letters only"):
        Neighbours(["42"], VECTORS[:1])


def test_vectors_that_do_not_fit_the_words():
    with pytest.raises(ValueError, match="2 words and 5 vectors: give one vector for each word"):
        Neighbours(["cat", "dog"], VECTORS)


def test_a_vector_that_is_not_finite():
    with pytest.raises(ValueError, match="the vector of 'dog' is not finite"):
        Neighbours(["cat", "dog"], np.array([[1, 0], [np.nan, 1]]))


def test_an_encoder_of_another_vocabulary(masked_lm, piece_tokenizer):
    masked_lm.resize_token_embeddings(12)
    with pytest.raises(ValueError, match="pieces up to 19, but the encoder has vectors for 12: give the tokenizer"):
        Neighbours.from_encoder(masked_lm, piece_tokenizer)


def sentences(tokenizer, *texts):
    return [find_words(text, tokenizer) for text in texts]


def test_what_the_model_expects_beside_the_unmasked_sentence(masked_lm, piece_tokenizer):
    (words,) = MaskedLM(masked_lm, piece_tokenizer, NOTHING).propose(sentences(piece_tokenizer, "the cat runs."), 3)
    ids = piece_tokenizer("[CLS] the [MASK] runs. [SEP] the cat runs. [SEP]", add_special_tokens=False)["input_ids"]
    types = [0] * 6 + [1] * 5
    with torch.no_grad():
        logits = masked_lm(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[0, 2]
    order = [piece_tokenizer.convert_ids_to_tokens(int(i)) for i in logits.argsort(descending=True)]
    expected = [piece for piece in order if piece.isalpha() and len(piece) > 1 and piece != "cat"]
    assert words[0] == expected[:3] and len(words) == 2


def test_batches_change_nothing(masked_lm, piece_tokenizer, monkeypatch):
    texts = ["cat runs", "the red bird sleeps, the dog walks", "blue", "", "green cat . dog"]
    together = MaskedLM(masked_lm, piece_tokenizer, NOTHING).propose(sentences(piece_tokenizer, *texts), 4)
    monkeypatch.setattr(candidates, "_QUESTIONS_AT_ONCE", 1)
    assert MaskedLM(masked_lm, piece_tokenizer, NOTHING).propose(sentences(piece_tokenizer, *texts), 4) == together


def test_the_vocabulary_is_scored_at_masked_words_alone(masked_lm, piece_tokenizer):
    shapes = []
    masked_lm.cls.register_forward_hook(lambda head, inputs, scores: shapes.append(tuple(scores.shape)))
    MaskedLM(masked_lm, piece_tokenizer, NOTHING).propose(sentences(piece_tokenizer, "cat runs", "red dog"), 1)
    assert shapes == [(4, 20)]


def test_words_of_several_pieces_are_left_to_the_rest(masked_lm, piece_tokenizer):
    rest = Neighbours(["walking", "cat", "dog"], torch.eye(3).numpy() + 0.1)
    text = sentences(piece_tokenizer, "walking cat")
    assert MaskedLM(masked_lm, piece_tokenizer, NOTHING).propose(text, 1)[0][0] == []
    with_rest = MaskedLM(masked_lm, piece_tokenizer, rest=rest)
    assert with_rest.propose(text, 2)[0][0] == rest.propose(text, 2)[0][0] != []
    assert with_rest.digest != MaskedLM(masked_lm, piece_tokenizer, NOTHING).digest


def test_words_beyond_the_models_reach_have_none(masked_lm, piece_tokenizer):
    # 32 positions hold two copies of 14 pieces and three separators.
    (words,) = MaskedLM(masked_lm, piece_tokenizer, NOTHING).propose(sentences(piece_tokenizer, "cat " * 10_000), 2)
    assert [bool(proposal) for proposal in words[:16]] == [True] * 14 + [False] * 2 and not any(words[14:])


def test_a_tokenizer_of_another_model(masked_lm, word_tokenizer):
    with pytest.raises(ValueError, match="the tokenizer has 101 pieces and the masked language model 20: give the tok"):
        MaskedLM(masked_lm, word_tokenizer, NOTHING)


def test_the_digest_knows_how_the_model_reads(masked_lm, piece_tokenizer):
    """The same weights with other heads, or texts in other cases, propose other words."""
    before = MaskedLM(masked_lm, piece_tokenizer, NOTHING).digest
    masked_lm.config.num_attention_heads = 4
    heads = MaskedLM(masked_lm, piece_tokenizer, NOTHING).digest
    cased = copy.deepcopy(piece_tokenizer)
    cased.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    assert len({before, heads, MaskedLM(masked_lm, cased, NOTHING).digest}) == 3

import numpy as np
import pytest
import torch

from xtcq.tasks.augmentation import Neighbours, find_words

VECTORS = np.array([[1, 0], [2, 0.1], [1, 1], [0, 1], [5, 5]])


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

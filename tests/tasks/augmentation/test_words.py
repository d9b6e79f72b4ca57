from xtcq.tasks.augmentation import find_words


def found(text, tokenizer):
    return [word.text for word in find_words(text, tokenizer).words]


def test_letters_only_and_no_stop_words(piece_tokenizer):
    assert found("The cat doesn't like x2 or 42 birds.", piece_tokenizer) == ["cat", "doesn", "like", "birds"]


def test_texts_without_words(piece_tokenizer):
    for text in ("", " ", "42 !? 7", "the", "中国"):
        assert found(text, piece_tokenizer) == []


def test_words_are_seen_as_the_tokenizer_sees_them(piece_tokenizer):
    sentence = find_words("Ein Café, RED", piece_tokenizer)
    assert [word.text for word in sentence.words] == ["ein", "cafe", "red"]
    assert [sentence.text[word.start : word.end] for word in sentence.words] == ["Ein", "Café", "RED"]


def test_everything_between_the_words_stays(piece_tokenizer):
    sentence = find_words("  Cat -- the  blue,cat! ", piece_tokenizer)
    assert sentence.replaced(["dog", None, "bird"]) == "  Dog -- the  blue,bird! "
    assert sentence.replaced([None, None, None]) == sentence.text

import pytest

from xtcq.tasks.augmentation import Sentence, Word, load_augmented_task
from xtcq.tasks.augmentation.store import load_vectors

GLOVE = 'cat 1.0 0.0\ndog 1.0 0.2\nnan 0.0 1.0\n" 0.5 0.5\nnull 0.0 0.9\n'


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE)
    monkeypatch.setenv("XTCQ_VECTORS", str(path))
    return path


def nearest(source, word):
    ((offered,),) = source.propose([Sentence(word, (Word(word, 0, len(word)),))], 1)
    return offered


def test_words_and_numbers_of_a_file_in_gloves_format(file):
    source = load_vectors()
    assert source.words == ["cat", "dog", "nan", "null"], "words like any other; a quote is none"
    assert nearest(source, "cat") == ["dog"] and nearest(source, "nan") == ["null"]


def test_only_the_most_frequent_words_are_read(file, monkeypatch):
    monkeypatch.setattr("xtcq.tasks.augmentation.store._VECTORS", 2)
    assert load_vectors().words == ["cat", "dog"]


@pytest.mark.parametrize(
    "text", ["cat 1.0 x\ndog 1.0 0.2\n", "", "cat 1.0\ndog 1.0 0.2\n", "12 1.0 0.0\n", "cat 1.0 nan\n"]
)
def test_a_file_in_another_format(file, text):
    file.write_text(text)
    with pytest.raises(
        ValueError, match="glove.txt holds no word vectors in GloVe's format .*: get glove.42B.300d.zip"
    ):
        load_vectors()


@pytest.mark.parametrize(("value", "found"), [("", "is not set"), ("/nowhere/glove.txt", "names '/nowhere/glove.txt'")])
def test_what_to_get_and_where_to_put_it(value, found, monkeypatch, tiny_bert, word_tokenizer):
    monkeypatch.setenv("XTCQ_VECTORS", value)
    with pytest.raises(
        FileNotFoundError, match=f"XTCQ_VECTORS {found}.*: get glove.42B.* set XTCQ_VECTORS to the path"
    ):
        load_augmented_task("demo-pairs", "tinybert", tiny_bert(), word_tokenizer)

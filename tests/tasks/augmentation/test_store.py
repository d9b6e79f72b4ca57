import pandas as pd
import pytest

from xtcq.encoder import load_masked_lm
from xtcq.tasks import encode, load_augmented_task, load_task
from xtcq.tasks.augmentation import (
    COPIES,
    Augmentation,
    Neighbours,
    Sentence,
    Word,
    augment_task,
    augmented_folder,
    store,
)


@pytest.fixture
def source():
    words = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(97)]
    return Neighbours(words, pd.DataFrame([[i, 1] for i in range(97)]).to_numpy())


@pytest.fixture
def letters(word_task, monkeypatch, tmp_path):
    """The word task in letters, so that its words may be replaced; its own cache."""
    monkeypatch.setenv("XTCQ_CACHE", str(tmp_path))
    names = {f"w{i}": chr(97 + i // 26) + chr(97 + i % 26) for i in range(97)}
    texts = [" ".join(names[word] for word in text.split()) for text in word_task.train["sentence"]]
    return type(word_task)(word_task.spec, word_task.train.assign(sentence=texts), word_task.evaluation)


def files():
    return sorted(augmented_folder().glob("*.parquet"))


def test_the_same_arguments_give_the_same_file_to_the_byte(letters, source, word_tokenizer):
    first = augment_task(letters, source, word_tokenizer, Augmentation(copies=3))
    assert len(letters.train) < len(first.train) <= 4 * len(letters.train)
    assert first.evaluation is letters.evaluation
    (path,) = files()
    content = path.read_bytes()
    path.unlink()
    augment_task(letters, source, word_tokenizer, Augmentation(copies=3))
    assert files() == [path] and path.read_bytes() == content
    augment_task(letters, source, word_tokenizer, Augmentation(copies=3, seed=1))
    assert len(files()) == 2


def test_what_is_stored_is_read(letters, source, word_tokenizer, monkeypatch):
    first = augment_task(letters, source, word_tokenizer, Augmentation(copies=2))
    monkeypatch.setattr(store, "augment", lambda *args: pytest.fail("made again"))
    pd.testing.assert_frame_equal(
        augment_task(letters, source, word_tokenizer, Augmentation(copies=2)).train, first.train
    )


def test_a_damaged_file_is_made_again(letters, source, word_tokenizer, caplog):
    first = augment_task(letters, source, word_tokenizer, Augmentation(copies=2))
    (path,) = files()
    path.write_bytes(path.read_bytes()[:100])
    again = augment_task(letters, source, word_tokenizer, Augmentation(copies=2))
    pd.testing.assert_frame_equal(again.train, first.train)
    assert "is damaged" in caplog.text and not list(augmented_folder().glob("*.partial"))


def test_a_flipped_byte_anywhere_gives_no_other_words(letters, source, word_tokenizer):
    first = augment_task(letters, source, word_tokenizer, Augmentation(copies=2))
    (path,) = files()
    content = path.read_bytes()
    noticed = 0
    for at in range(4, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 0x01
        path.write_bytes(damaged)
        read = store._read(path, letters)
        assert read is None or read.equals(first.train), at
        noticed += read is None
    assert noticed > 10


def test_use_of_the_tokenizer_is_no_reason_to_do_it_again(letters, source, word_tokenizer):
    augment_task(letters, source, word_tokenizer, Augmentation(copies=2))
    encode(letters.train, letters.spec, word_tokenizer)
    augment_task(letters, source, word_tokenizer, Augmentation(copies=2))
    assert len(files()) == 1


def test_a_failure_leaves_nothing(letters, source, word_tokenizer, monkeypatch):
    def full(self, path, **options):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="No space"):
        augment_task(letters, source, word_tokenizer, Augmentation(copies=2))
    assert {path.suffix for path in augmented_folder().iterdir()} <= {".lock"}


def test_a_task_by_name(letters, word_tokenizer, masked_lm, piece_tokenizer):
    task = load_augmented_task("demo-pairs", "neighbours", masked_lm, piece_tokenizer)
    assert len(task.train) <= len(load_task("demo-pairs").train) * (1 + 2 * COPIES["demo-pairs"])
    with pytest.raises(ValueError, match="source of words 'glove' is unknown: use one of neighbours, masked-lm, t"):
        load_augmented_task("demo-pairs", "glove", masked_lm, piece_tokenizer)
    for name in ("demo-nothing", "demo-questions"):
        with pytest.raises(ValueError, match=f"task '{name}' is not augmented: use one of cola, mnli"):
            load_augmented_task(name, "neighbours", masked_lm, piece_tokenizer)


def test_a_masked_language_model_that_cannot_be_had(masked_lm, piece_tokenizer, monkeypatch, tmp_path):
    monkeypatch.setenv("XTCQ_MODELS", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match="XTCQ_MODELS names"):
        load_augmented_task("demo-pairs", "masked-lm", masked_lm, piece_tokenizer)


def test_a_checkpoint_without_the_head(tiny_bert, tmp_path, piece_tokenizer, masked_lm):
    tiny_bert().save_pretrained(tmp_path / "classifier")
    piece_tokenizer.save_pretrained(tmp_path / "classifier")
    with pytest.raises(ValueError, match="has no masked-language-model head: give a BERT"):
        load_masked_lm(str(tmp_path / "classifier"))
    masked_lm.save_pretrained(tmp_path / "lm")
    piece_tokenizer.save_pretrained(tmp_path / "lm")
    model, tokenizer = load_masked_lm(str(tmp_path / "lm"))
    assert model.config.vocab_size == len(tokenizer.get_vocab())


GLOVE = 'cat 1.0 0.0\ndog 1.0 0.2\nnan 0.0 1.0\n" 0.5 0.5\nnull 0.0 0.9\n'


@pytest.fixture
def vectors_file(tmp_path, monkeypatch):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE)
    monkeypatch.setenv("XTCQ_VECTORS", str(path))
    return path


def nearest(source, word):
    ((offered,),) = source.propose([Sentence(word, (Word(word, 0, len(word)),))], 1)
    return offered


def test_words_and_numbers_of_a_file_in_gloves_format(vectors_file):
    source = store.load_vectors()
    assert source.words == ["cat", "dog", "nan", "null"], "words like any other; a quote is none"
    assert nearest(source, "cat") == ["dog"] and nearest(source, "nan") == ["null"]


def test_only_the_most_frequent_words_are_read(vectors_file, monkeypatch):
    monkeypatch.setattr(store, "_VECTORS", 2)
    assert store.load_vectors().words == ["cat", "dog"]


@pytest.mark.parametrize(
    "text", ["cat 1.0 x\ndog 1.0 0.2\n", "", "cat 1.0\ndog 1.0 0.2\n", "12 1.0 0.0\n", "cat 1.0 nan\n"]
)
def test_a_file_in_another_format(vectors_file, text):
    vectors_file.write_text(text)
    with pytest.raises(
        ValueError, match="glove.txt holds no word vectors in GloVe's format .*: get glove.42B.300d.zip"
    ):
        store.load_vectors()


@pytest.mark.parametrize(("value", "found"), [("", "is not set"), ("/nowhere/glove.txt", "names '/nowhere/glove.txt'")])
def test_what_to_get_and_where_to_put_it(value, found, monkeypatch, tiny_bert, word_tokenizer):
    monkeypatch.setenv("XTCQ_VECTORS", value)
    with pytest.raises(
        FileNotFoundError, match=f"XTCQ_VECTORS {found}.*: get glove.42B.* set XTCQ_VECTORS to the path"
    ):
        load_augmented_task("demo-pairs", "tinybert", tiny_bert(), word_tokenizer)

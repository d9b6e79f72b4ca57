import socket
import time

import pytest
from huggingface_hub import constants, get_session

from xtcq import pretrained
from xtcq.encoder import load_encoder
from xtcq.tasks import load_task


@pytest.fixture
def silent_hub(monkeypatch, tmp_path):
    """An endpoint that takes connections and never answers, an empty cache, and a fifth of a second for an answer."""
    monkeypatch.delenv("XTCQ_MODELS", raising=False)
    monkeypatch.delenv("XTCQ_DATA", raising=False)
    monkeypatch.setattr(pretrained, "_in_package", lambda published: None)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        yield address


def test_a_hub_that_never_answers_is_named(silent_hub):
    with pytest.raises(FileNotFoundError) as caught:
        load_encoder("bert-base-uncased", 2)
    message = str(caught.value)
    assert "no files for model 'bert-base-uncased': google-bert/bert-base-uncased cannot be read from" in message
    assert f"the Hugging Face hub at {silent_hub}, which has 0.2 s for each answer" in message
    assert "$XTCQ_MODELS/bert-base-uncased" in message and "set HF_HUB_DOWNLOAD_TIMEOUT" in message


def test_data_of_a_hub_that_never_answers(silent_hub, monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", silent_hub)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the library's tries
    begun = time.monotonic()
    with pytest.raises(FileNotFoundError, match=f"task 'cola': .*{silent_hub}, which has 0.2 s .*XTCQ_DATA"):
        load_task("cola")
    assert time.monotonic() - begun < 9  # a single answer has ten seconds, or sixty, without the limit


def test_the_limit_ends_with_the_reading(silent_hub):
    before = list(get_session().event_hooks["request"])
    with pytest.raises(FileNotFoundError):
        load_encoder("bert-base-uncased", 2)
    assert get_session().event_hooks["request"] == before

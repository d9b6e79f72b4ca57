import torch

from xtcq.study import provenance


def test_a_record_says_where_it_was_measured(monkeypatch):
    found = provenance.provenance()
    assert set(found) == {"device", "versions", "commit"}
    assert found["versions"]["torch"] == torch.__version__
    assert len(found["commit"]) == 40
    monkeypatch.setenv("XTCQ_COMMIT", "a copy")
    assert provenance.provenance()["commit"] == "a copy"


def test_a_processor_is_named_with_its_threads(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    device = provenance.provenance()["device"]
    assert device.startswith("CPU ") and device.endswith(", 3 threads")


def test_a_package_that_is_not_there(monkeypatch):
    def missing(name):
        raise provenance.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(provenance.metadata, "version", missing)
    assert provenance.provenance()["versions"]["accelerate"] == "not installed"


def test_processes_side_by_side_are_counted_by_who_started_them(monkeypatch):
    monkeypatch.delenv(provenance.SIDE_BY_SIDE, raising=False)
    assert provenance.side_by_side() == 1
    monkeypatch.setenv(provenance.SIDE_BY_SIDE, "4")
    assert provenance.side_by_side() == 4

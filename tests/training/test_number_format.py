import pytest
import torch

from xtcq.training.number_format import number_format


def test_fp32_unless_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("XTCQ_COMPUTE", raising=False)
    assert number_format(tmp_path / "run") == "fp32"


def test_a_run_keeps_its_format(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_COMPUTE", "fp32")
    assert number_format(tmp_path / "run") == "fp32"
    monkeypatch.setenv("XTCQ_COMPUTE", "bf16")
    assert number_format(tmp_path / "run") == "fp32"


def test_a_format_that_there_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_COMPUTE", "int4")
    with pytest.raises(ValueError, match="XTCQ_COMPUTE is 'int4': use one of fp32, bf16"):
        number_format(tmp_path)


@pytest.mark.parametrize(("found", "allowed"), [({"avx512_bf16": True}, True), ({"avx2": True}, False)])
def test_bf16_needs_a_processor_that_has_it(tmp_path, monkeypatch, found, allowed):
    monkeypatch.setenv("XTCQ_COMPUTE", "bf16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    if allowed:
        assert number_format(tmp_path) == "bf16"
    else:
        with pytest.raises(ValueError, match="only emulate, slower than fp32"):
            number_format(tmp_path)

import pytest
import torch

from xtcq.training.number_format import choose, number_format


def test_fp32_unless_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("XTCQ_COMPUTE", raising=False)
    assert number_format(tmp_path / "run") == "fp32"
    monkeypatch.setenv("XTCQ_COMPUTE", "")
    assert number_format(tmp_path / "another run") == "fp32"


def test_a_run_keeps_its_format(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_COMPUTE", "fp32")
    assert number_format(tmp_path / "run") == "fp32"
    monkeypatch.setenv("XTCQ_COMPUTE", "bf16")
    assert number_format(tmp_path / "run") == "fp32"


def test_a_format_that_there_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XTCQ_COMPUTE", "int4")
    with pytest.raises(ValueError, match="XTCQ_COMPUTE is 'int4': use one of auto, fp32, tf32, bf16"):
        number_format(tmp_path)


@pytest.fixture
def processor(monkeypatch):
    """Pretend that this machine has no card, and a processor of the given capabilities."""

    def pretend(**capabilities):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    return pretend


@pytest.mark.parametrize(
    ("found", "chosen"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")]
)
def test_auto_is_what_the_processor_has(processor, found, chosen):
    processor(**found)
    assert choose("auto") == chosen


def test_emulated_bf16_is_granted_and_said(processor, caplog):
    processor(avx2=True)
    assert choose("bf16") == "bf16"
    assert "takes" in caplog.text and "times as long as in fp32" in caplog.text


def test_tf32_needs_a_card(processor):
    processor(avx512_bf16=True)
    with pytest.raises(ValueError, match="use fp32 or bf16 here"):
        choose("tf32")

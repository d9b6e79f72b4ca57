import pytest
from transformers.utils import logging

from xtcq.quiet import without_bars


def test_bars_are_off_within_and_come_back_after_an_error():
    assert logging.is_progress_bar_enabled()
    with pytest.raises(KeyboardInterrupt), without_bars():
        assert not logging.is_progress_bar_enabled()
        with without_bars():
            pass
        assert not logging.is_progress_bar_enabled()
        raise KeyboardInterrupt
    assert logging.is_progress_bar_enabled()

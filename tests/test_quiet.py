from transformers.utils import logging

from xtcq.quiet import without_bars


def test_bars_are_off_within_and_come_back_after_an_error():
    assert logging.is_progress_bar_enabled()
    try:
        with without_bars():
            assert not logging.is_progress_bar_enabled()
            with without_bars():
                pass
            assert not logging.is_progress_bar_enabled()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert logging.is_progress_bar_enabled()

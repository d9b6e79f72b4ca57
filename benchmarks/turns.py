"""Ways to do the same take turns, so that a drift of the machine's speed hits them all; ratios are medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

PAUSE = 0.05  # seconds
Clock = Callable[[], float]


def clock_of(threads: int, cpu_time: bool) -> Clock:
    """The processor's time tells one thread's work apart from that of others; more threads need the wall's."""
    return time.process_time if cpu_time and threads == 1 else time.perf_counter


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int, clock: Clock, warm: bool = True) -> pd.DataFrame:
    """Seconds of every way, one row a round.

    With ``warm``, a way runs once before it is timed, and a first round is not counted: what takes long fills the
    caches itself.
    """
    seconds: list[dict[str, float]] = []
    for _ in range(rounds + warm):
        row = {}
        for name, run in ways.items():
            # The threads of the way before still spin for a while, and would slow this one down.
            time.sleep(PAUSE)
            if warm:
                run()
            started = clock()
            run()
            row[name] = clock() - started
        seconds.append(row)
    return pd.DataFrame(seconds[warm:])


def ratios(seconds: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """Milliseconds, and how many times as fast as each of ``others``, with quartiles: one row a way."""
    table = pd.DataFrame({"ms (median)": 1000 * seconds.median()})
    for other in others:
        speed = (1 / seconds).mul(seconds[other], axis=0)
        table[f"times as fast as {other}"] = speed.median()
        for name, share in (("lower quartile", 0.25), ("upper quartile", 0.75)):
            table[f"{name}, {other}"] = speed.quantile(share)
    return table

"""Damage to files, at random and repeatable: of bytes, and of the values of JSON."""

import copy
import random
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

HOSTILE = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 10**8, 10**30, -(10**9), 0.0, -0.5, 1e-300, 1e300),
    *(
        "",
        "x",
        "../x",
        "1",
        "\x00",
        "\U0001f600" * 9,
        "9" * 400,
        [],
        {},
        [[]],
        [None],
        {"": None},
        [1, 2, 3],
        {"0": "a"},
    ),
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one fault: flipped, cut, longer, swapped, zeroed, inserted or repeated ones."""
    at, to = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    kind = rng.choice(("flip", "cut", "append", "delete", "swap", "zero", "insert", "repeat"))
    some = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
    return {
        "flip": data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
        "cut": data[:at],
        "append": data + some,
        "delete": data[:at] + data[at + len(some) :],
        "swap": data[:at] + data[to : to + 1] + data[at + 1 : to] + data[at : at + 1] + data[to + 1 :],
        "zero": data[:at] + bytes(min(8, len(data) - at)) + data[at + 8 :],
        "insert": data[:at] + some + data[at:],
        "repeat": data[:to] + data[at:],
    }[kind]


def altered(value, rng: random.Random):
    """A copy of parsed JSON in which one value, however deep, is another one, is missing, or has a new neighbour."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    # As likely at any depth: else nearly all would be in the longest list.
    depth = rng.choice(sorted({level for level, _, _ in places}))
    _, parent, key = rng.choice([place for place in places if place[0] == depth])
    kind = rng.choice(("replace", "replace", "replace", "remove", "add", "scale"))
    if kind == "remove":
        del parent[key]
    elif kind == "add" and isinstance(parent, dict):
        parent[rng.choice(("", "x", "dtype", "auto_map"))] = rng.choice(HOSTILE)
    elif kind == "scale" and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
        parent[key] = parent[key] * rng.choice((-1, 2, 1000, 0.5))
    else:
        parent[key] = copy.deepcopy(rng.choice(HOSTILE))
    return value


def _places(value, level=0):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield level, value, key
        yield from _places(inner, level + 1)


@contextmanager
def bounded(seconds: float, mebibytes: int):
    """Fail what takes longer, and what takes more memory beside what the process has already."""

    def stop(*_):
        raise TimeoutError(f"not finished after {seconds} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + mebibytes * 2**20, before[1]))
    handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)

"""Parsed JSON as nobody wrote it."""

import copy

from hypothesis import strategies as st

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**30) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def altered(draw, value):
    """A copy in which one value is another one; as likely at any depth, else nearly all were in the longest list."""
    inner = value = copy.deepcopy(value)
    while True:
        parent, key = inner, draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        inner = parent[key]
        if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
            parent[key] = draw(ANYTHING)
            return value

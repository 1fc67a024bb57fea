"""What hypothesis draws for several tests: texts of whatever characters, and values of JSON."""

from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(st.characters())  # lone surrogates too
JSON_NUMBERS = st.integers() | st.floats()  # those as well that only Python's JSON has
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | JSON_NUMBERS | TEXTS,
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(TEXTS, parts, max_size=4),
    max_leaves=8,
)

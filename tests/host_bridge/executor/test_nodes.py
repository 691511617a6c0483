"""Outputs made from messages are outputs the format allows, and those of nbformat's own constructor."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import output_from_msg

from host_bridge.executor.nodes import output_node

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MIME_TYPES = st.sampled_from(
    [
        "text/plain",
        "image/png",
        "application/json",
        "application/x+json",
        "application/json\n",
        "application/jsonx",
        "+json",
    ]
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "data": JSON | st.dictionaries(MIME_TYPES, JSON, max_size=3),
        "metadata": JSON | st.just({}),
        "execution_count": JSON | st.integers(),
        "name": JSON | st.just("stdout"),
        "text": JSON,
        "ename": JSON,
        "evalue": JSON,
        "traceback": JSON | st.lists(st.text(max_size=3), max_size=2),
    },
)
KINDS = st.sampled_from(["stream", "display_data", "execute_result", "error", "other"])


@settings(deadline=None, max_examples=200)
@given(KINDS, FIELDS)
def test_what_is_made_is_valid(kind: str, content: dict[str, Any]) -> None:
    try:
        node = output_node(kind, content)
    except ValueError:
        return
    nbformat.validate(node, ref=kind, version=4, version_minor=5)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("stream", {"name": "stderr", "text": "x\n"}),
        (
            "display_data",
            {"data": {"text/plain": ["a", "b"], "application/json": {"k": [1]}}, "metadata": {"isolated": True}},
        ),
        ("execute_result", {"data": {"text/plain": "3"}, "metadata": {}, "execution_count": 3}),
        ("error", {"ename": "E", "evalue": "v", "traceback": ["a", "b"]}),
    ],
)
def test_it_is_what_nbformat_makes(kind: str, content: dict[str, Any]) -> None:
    assert output_node(kind, content) == output_from_msg({"header": {"msg_type": kind}, "content": content})

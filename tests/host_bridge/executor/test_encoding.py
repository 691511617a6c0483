"""Pieces of a notebook, joined, are what nbformat writes."""

from __future__ import annotations

import io
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from host_bridge.executor.encoding import encode_cell, join_notebook

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["a\nb\r\nc\rd", "\u2028line\u2029s\x0b\x0c\x1c\x85", '"\\\x00\x7f', "", "\n\n", "é😀"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
mime_types = st.sampled_from(
    ["text/plain", "text/html", "image/png", "image/svg+xml", "application/javascript", "application/pdf"]
)
bundles = st.dictionaries(mime_types, texts, max_size=3)
metadata = st.dictionaries(texts | st.sampled_from(["trusted", "signature", "name"]), json_values, max_size=3)


def streams() -> Any:
    return st.builds(lambda text: new_output("stream", text=text), texts)


def displays() -> Any:
    return st.builds(
        lambda data, more, extra: new_output("display_data", data={**data, "application/json": more}, metadata=extra),
        bundles,
        json_values,
        st.dictionaries(texts, json_values, max_size=2),
    )


def errors() -> Any:
    return st.builds(
        lambda name, lines: new_output("error", ename=name, traceback=lines), texts, st.lists(texts, max_size=2)
    )


code_cells = st.builds(
    lambda source, outputs, count, extra: new_code_cell(source, outputs=outputs, execution_count=count, metadata=extra),
    texts,
    st.lists(streams() | displays() | errors(), max_size=3),
    st.none() | st.integers(0, 99),
    st.dictionaries(texts, json_values, max_size=2),
)
markdown_cells = st.builds(
    lambda source, bundle: new_markdown_cell(source, attachments={"a.png": bundle}), texts, bundles
)
raw_cells = st.builds(new_raw_cell, texts)
notebooks = st.builds(
    lambda cells, extra: new_notebook(cells=cells, metadata=extra),
    st.lists(code_cells | markdown_cells | raw_cells, max_size=4),
    metadata,
)


def written_by_nbformat(notebook: NotebookNode) -> bytes:
    stream = io.StringIO()
    # Not nbformat.write: what hypothesis makes up is not always valid, and that is not what this is about.
    stream.write(nbformat.v4.writes(notebook))
    return stream.getvalue().encode() + b"\n"


def joined(notebook: NotebookNode) -> bytes:
    return b"".join(join_notebook(notebook, map(encode_cell, notebook.cells)))


@pytest.mark.parametrize("line", ["x" * 99 + "\n", "é\u2028\r\n", "one long line "])
def test_a_text_of_many_slabs_is_encoded_as_a_whole(line: str) -> None:
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[new_output("stream", text=line * 40_000)])])
    assert joined(notebook) == written_by_nbformat(notebook)
    if "\n" in line:
        assert len(encode_cell(notebook.cells[0])) > (len(line) * 40_000) // 2**20


@settings(deadline=None)
@given(notebooks)
def test_joined_pieces_are_the_bytes_nbformat_writes(notebook: NotebookNode) -> None:
    before = nbformat.v4.writes(notebook)
    assert joined(notebook) == written_by_nbformat(notebook)
    assert nbformat.v4.writes(notebook) == before, "encoding changed the notebook"


def test_nothing_is_split_that_is_split_already() -> None:
    notebook = new_notebook(cells=[new_code_cell("x")])
    notebook.cells[0]["source"] = ["a\n", "b"]
    assert joined(notebook) == written_by_nbformat(notebook)


@pytest.mark.parametrize("value", [b"abc", 3, 2.5, float("inf"), (1, (2,)), {"k": ()}])
def test_values_json_knows_only_by_its_encoder_are_encoded_as_it_does(value: Any) -> None:
    notebook = new_notebook(metadata={"value": value})
    assert joined(notebook) == written_by_nbformat(notebook)


def test_keys_that_are_no_text_become_what_json_makes_of_them() -> None:
    notebook = new_notebook(metadata={"inner": {1: "a", 2: "b"}})
    assert joined(notebook) == written_by_nbformat(notebook)


def test_half_a_surrogate_pair_leaves_a_readable_file() -> None:
    notebook = new_notebook(cells=[new_code_cell("x = '\ud83d'")])
    again = nbformat.reads(joined(notebook).decode("utf-8"), as_version=4)
    assert again.cells[0].source == "x = '\ud83d'"

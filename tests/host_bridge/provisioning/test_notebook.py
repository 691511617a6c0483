from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from host_bridge.provisioning.notebook import declared_permissions, read_document, source_digest


@pytest.mark.parametrize(
    ("metadata", "declared"),
    [
        ({"hermes": {"permissions": {"allow": ["read_file(./**)"]}}}, {"allow": ["read_file(./**)"]}),
        ({"hermes": {"permissions": {}}}, {}),
        ({"hermes": {"permissions": "everything"}}, {}),
        ({"hermes": {"permissions": None}}, {}),
        ({"hermes": {}}, None),
        ({"hermes": "x"}, None),
        ({}, None),
    ],
)
def test_what_is_declared_is_read_and_nonsense_narrows_to_nothing(
    tmp_path: Path, metadata: object, declared: object
) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"metadata": metadata, "cells": []}))
    document = read_document(str(path))
    assert document is not None
    assert declared_permissions(document) == declared


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_no_notebook(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    assert read_document(str(path)) is None


def test_what_is_no_file_declares_nothing_and_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "pipe", "."):
        assert read_document(str(tmp_path / name)) is None


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert read_document(str(path)) is None


def notebook(*cells: dict[str, object], **metadata: object) -> dict[str, object]:
    return {"cells": list(cells), "metadata": metadata}


def code(source: object, **fields: object) -> dict[str, object]:
    return {"cell_type": "code", "source": source, **fields}


def test_a_source_is_what_runs_and_what_is_declared() -> None:
    digest = source_digest(notebook(code("a = 1\nb = 2")))
    assert digest == source_digest(notebook(code(["a = 1\n", "b = 2"], outputs=[1], execution_count=3)))
    assert digest == source_digest(notebook({"cell_type": "markdown", "source": "# T"}, code("a = 1\nb = 2"), run=1))
    assert digest != source_digest(notebook(code("a = 1\nb = 3")))
    assert digest != source_digest(notebook(code("a = 1"), code("b = 2")))
    assert digest != source_digest(notebook(code("a = 1\nb = 2"), hermes={"permissions": {"allow": []}}))


def test_no_tag_hides_a_cell_from_the_digest() -> None:
    tagged = code("os.remove('x')", metadata={"tags": ["injected-parameters"]})
    assert source_digest(notebook(tagged)) != source_digest(notebook())


@pytest.mark.parametrize("document", [{}, {"cells": 3}, {"cells": ["x", {"cell_type": "code"}]}, {"metadata": "x"}])
def test_whatever_is_no_notebook_has_a_digest_too(document: dict[str, object]) -> None:
    assert len(source_digest(document)) == 64

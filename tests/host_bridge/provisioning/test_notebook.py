from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from host_bridge.provisioning.notebook import declared_permissions


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
    assert declared_permissions(str(path)) == declared


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"metadata": 3}'])
def test_what_is_no_notebook_declares_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    assert declared_permissions(str(path)) is None


def test_what_is_no_file_declares_nothing_and_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "pipe", "."):
        assert declared_permissions(str(tmp_path / name)) is None


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert declared_permissions(str(path)) is None

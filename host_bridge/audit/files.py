"""The files of one log: a log that grew beyond a size goes on in a next file, and the chain with it.

20261103T101500-1a2b3c4d.jsonl        …, {"type":"log_rotated","next_file":"20261103T101500-1a2b3c4d.0001.jsonl", …}
20261103T101500-1a2b3c4d.0001.jsonl   {"type":"log_continued","previous_file":"20261103T101500-1a2b3c4d.jsonl", …}, …
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from host_bridge.errors import AuditError

_NUMBERED = re.compile(r"(?P<stem>.+)\.(?P<number>[0-9]{4,9})")
_END_BYTES = 4096  # a record that says where the log goes on is far shorter
_MAX_FILES = 100_000


def next_path(path: str) -> str:
    """Give the file a log goes on in."""
    given = Path(path)
    numbered = _NUMBERED.fullmatch(given.stem)
    stem, number = (numbered["stem"], int(numbered["number"])) if numbered else (given.stem, 0)
    return str(given.with_name(f"{stem}.{number + 1:04d}{given.suffix}"))


def files_of(path: str | os.PathLike[str]) -> list[str]:
    """Give all files of the log that a file belongs to, in order: as far as they exist.

    Raises:
        AuditError: The file itself can't be read.
    """
    files = [os.fspath(path)]
    while len(files) < _MAX_FILES and (name := _beside(files[0], _first(files[0]), "log_continued", "previous_file")):
        if name in files:
            break
        files.insert(0, name)
    while len(files) < _MAX_FILES and (name := _beside(files[-1], _last(files[-1]), "log_rotated", "next_file")):
        if name in files:
            break
        files.append(name)
    return files


def is_continuation(path: str | os.PathLike[str]) -> bool:
    """Whether a file goes on where another one ended, which exists.

    Raises:
        AuditError: It can't be read.
    """
    return _beside(os.fspath(path), _first(path), "log_continued", "previous_file") is not None


def _beside(path: str, fields: dict[str, Any], kind: str, key: str) -> str | None:
    """The neighbour that a record names, if it is one and exists. Never in another folder: a log is no map to follow."""
    name = fields.get(key)
    if fields.get("type") != kind or not isinstance(name, str) or name != os.path.basename(name) or "\0" in name:  # noqa: PTH119
        return None
    neighbour = Path(path).with_name(name)
    return str(neighbour) if neighbour.is_file() else None


def _first(path: str | os.PathLike[str]) -> dict[str, Any]:
    return _decoded(_read(path, 0).partition(b"\n")[0])


def _last(path: str | os.PathLike[str]) -> dict[str, Any]:
    return _decoded(_read(path, -_END_BYTES).removesuffix(b"\n").rpartition(b"\n")[2])


def _read(path: str | os.PathLike[str], offset: int) -> bytes:
    try:
        with open(path, "rb") as file:
            if offset:
                file.seek(max(0, os.fstat(file.fileno()).st_size + offset))
            return file.read(_END_BYTES)
    except OSError as error:
        raise AuditError(f"{os.fspath(path)}: can't be read: {error.strerror}") from None


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}

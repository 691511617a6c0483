"""The tools for files of the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from hermes_protocol.frames import Frame
from hermes_runtime._arguments import check_seconds, view_bytes
from hermes_runtime._blocking import SECONDS, Path, ValueOperation, mapping, tool
from hermes_runtime._calls import Operation
from hermes_runtime._errors import InvalidToolRequestError
from hermes_runtime._files import TRANSFER_SECONDS, FileFacts, ReadOperation, plain_path
from hermes_runtime._results import (
    FileEntry,
    FileList,
    FileSearch,
    Match,
    PatchedFile,
    PatchResult,
    WriteResult,
    convert,
)

Content = str | bytes | bytearray | memoryview


@tool
def read_file(
    path: Path,
    offset: int = 1,
    limit: int | None = None,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    timeout: float = TRANSFER_SECONDS,
) -> Operation[str]:
    """Read a file's text, exactly as it is on disk.

    Args:
        path: The file; relative paths start from the workspace.
        offset: The first line to read, counted from 1.
        limit: How many lines; all by default.
        encoding: How the text is encoded; `errors` says what to do with bytes that aren't, as in the built-in `open`.
        timeout: Seconds it may take.

    Raises:
        ToolNotFoundError: It doesn't exist (a `FileNotFoundError`).
        UnicodeDecodeError: It isn't text in that encoding; `read_bytes` reads anything.
    """

    def decode(content: Any, _facts: FileFacts) -> str:
        try:
            return str(content, encoding, errors) if len(content) else ""
        except UnicodeDecodeError as error:
            error.reason += "; hermes.read_bytes() gives any file, encoding=… or errors='replace' another text"
            raise

    return ReadOperation(plain_path(path), "lines", offset, limit, None, check_seconds(timeout), decode)


@tool
def read_bytes(
    path: Path, offset: int = 0, limit: int | None = None, *, timeout: float = TRANSFER_SECONDS
) -> Operation[bytes]:
    """Read a file's bytes, all of them or `limit` from byte `offset` on.

    Raises:
        ToolNotFoundError: It doesn't exist (a `FileNotFoundError`).
    """

    def give(content: Any, _facts: FileFacts) -> bytes:
        return bytes(content)  # a copy only of what came in the reply itself: bytes() gives bytes back as they are

    return ReadOperation(plain_path(path), "bytes", offset, limit, None, check_seconds(timeout), give)


@tool
def write_file(
    path: Path,
    content: Content,
    create_parents: bool = True,
    *,
    encoding: str = "utf-8",
    timeout: float = TRANSFER_SECONDS,
) -> Operation[WriteResult]:
    """Write a file whole, or not at all: nobody sees it half written.

    Args:
        path: The file; relative paths start from the workspace.
        content: Text, or bytes of any size.
        create_parents: Whether to make folders that are missing.
        encoding: How to encode text.
        timeout: Seconds it may take.
    """
    if isinstance(content, str):
        view = memoryview(content.encode(encoding))
    elif isinstance(content, bytes | bytearray | memoryview):
        view = view_bytes(content)
    else:
        raise InvalidToolRequestError(f"the content must be text or bytes, not {type(content).__name__}")
    plain = plain_path(path)

    def make(result: Any, _bulk: Mapping[str, Frame]) -> WriteResult:
        return convert({"path": plain, **mapping(result, "write_file")}, WriteResult, "write_file")

    arguments: dict[str, Any] = {"path": plain}
    if not create_parents:
        arguments["create_parents"] = False
    return ValueOperation("write_file", arguments, check_seconds(timeout), make, {"content": view})


@tool
def patch(
    path: Path | None = None,
    old_string: str | None = None,
    new_string: str | None = None,
    replace_all: bool = False,
    *,
    mode: Literal["replace", "patch"] = "replace",
    patch: str | None = None,
    timeout: float = SECONDS,
) -> Operation[PatchResult]:
    """Change files: replace a text in one, or apply a patch to several.

    Args:
        path: The file, for mode `"replace"`.
        old_string: What to replace; it must stand there exactly once, unless `replace_all`.
        new_string: What to put in its place.
        replace_all: Replace it wherever it stands.
        mode: `"replace"`, or `"patch"` to apply `patch`.
        patch: A patch in the V4A format (`*** Begin Patch` …).
        timeout: Seconds it may take.
    """
    given: dict[str, Any] = {
        "path": None if path is None else plain_path(path),
        "old_string": old_string,
        "new_string": new_string,
    }
    arguments: dict[str, Any] = {name: value for name, value in {**given, "patch": patch}.items() if value is not None}
    arguments |= {"mode": mode, "replace_all": replace_all}

    def make(result: Any, _bulk: Mapping[str, Frame]) -> PatchResult:
        fields = mapping(result, "patch")
        return PatchResult(
            convert(fields.get("files", []), list[PatchedFile], "patch"), diff=str(fields.get("diff", ""))
        )

    return ValueOperation("patch", arguments, check_seconds(timeout), make)


@tool
def list_files(
    path: Path = ".",
    pattern: str | None = None,
    recursive: bool = False,
    hidden: bool = False,
    limit: int = 1000,
    *,
    timeout: float = SECONDS,
) -> Operation[FileList]:
    """List a folder.

    Args:
        path: The folder; the workspace by default.
        pattern: Only names that match, such as `"*.py"`.
        recursive: Whether to go into folders.
        hidden: Whether to list names that begin with a dot.
        limit: How many entries at most; `.truncated` says whether there were more.
        timeout: Seconds it may take.
    """
    arguments = {"path": plain_path(path), "recursive": recursive, "hidden": hidden, "limit": limit, "pattern": pattern}

    def make(result: Any, _bulk: Mapping[str, Frame]) -> FileList:
        fields = mapping(result, "list_files")
        entries = convert(fields.get("entries", []), list[FileEntry], "list_files")
        return FileList(entries, truncated=bool(fields.get("truncated")))

    return ValueOperation("list_files", arguments, check_seconds(timeout), make)


class _Found(msgspec.Struct, frozen=True):
    matches: tuple[Match, ...] = ()
    files: tuple[str, ...] = ()
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    total: int = 0
    truncated: bool = False


@tool
def search_files(
    pattern: str,
    target: Literal["content", "files"] = "content",
    path: Path = ".",
    file_glob: str | None = None,
    limit: int = 50,
    offset: int = 0,
    output_mode: Literal["content", "files_only", "count"] = "content",
    context: int = 0,
    *,
    timeout: float = SECONDS,
) -> Operation[FileSearch]:
    """Search files by content or by name.

    Args:
        pattern: A regular expression for content; a glob for names.
        target: `"content"`, or `"files"` for names.
        path: Where to search; the workspace by default.
        file_glob: Only in files whose names match, such as `"*.py"`.
        limit: How many results at most; `.truncated` says whether there were more.
        offset: How many results to skip.
        output_mode: Matching lines, only the files they are in, or how many in each.
        context: How many lines around each match.
        timeout: Seconds it may take.
    """
    arguments = {
        "pattern": pattern,
        "target": target,
        "path": plain_path(path),
        "file_glob": file_glob,
        "limit": limit,
        "offset": offset,
        "output_mode": output_mode,
        "context": context,
    }

    def make(result: Any, _bulk: Mapping[str, Frame]) -> FileSearch:
        found = convert(result, _Found, "search_files")
        return FileSearch(
            matches=found.matches,
            files=found.files,
            counts=found.counts,
            total=found.total,
            truncated=found.truncated,
        )

    return ValueOperation("search_files", arguments, check_seconds(timeout), make)

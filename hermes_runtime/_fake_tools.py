"""What `testing.FakeHost` does for tool functions: files in memory, and plain return values made into a tool's real result."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hermes_runtime._errors import InvalidToolRequestError, ToolFailedError, ToolNotFoundError

INLINE_BYTES = 256 * 2**10  # as the real host: larger content is streamed
CHUNK_BYTES = 1 * 2**20


@dataclasses.dataclass(frozen=True)
class Reply:
    """A result as it travels: plain data, and bytes by field name.

    For tools whose result has bytes, or to give exactly what the real tool would give.

    Attributes:
        files: What the call leaves in the fake workspace, by path.
    """

    value: Any = None
    bulk: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Command:
    """What a fake `terminal` may return, to say more than the text of stdout."""

    stdout: str | bytes = b""
    stderr: str | bytes = b""
    exit_code: int = 0
    duration_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a fake `http_request` may return, to say more than the body: a text, bytes, or what becomes JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reason: str = ""
    url: str = ""


class FakeFiles:
    """A workspace in memory, with the tools that read and write it.

    Attributes:
        contents: Bytes by path.
    """

    def __init__(self, contents: Mapping[str, str | bytes]) -> None:
        self.contents = {path: as_bytes(content) for path, content in contents.items()}
        self._versions: dict[str, int] = {}
        self._lock = threading.Lock()

    def tools(self) -> dict[str, Callable[..., Any]]:
        """Give the tools by name."""
        return {"read_file": self.read_file, "write_file": self.write_file, "list_files": self.list_files}

    def read_file(
        self,
        call: Any,
        path: str,
        unit: str = "lines",
        offset: int | None = None,
        limit: int | None = None,
        version: str | None = None,
    ) -> Reply:
        """Give a range of a file, as the host's tool does."""
        with self._lock:
            content = self.contents.get(path)
            current = str(self._versions.get(path, 0))
        if content is None:
            raise ToolNotFoundError(f"{path} doesn't exist")
        if version not in (None, current):
            raise ToolFailedError(f"{path} changed while it was read in pieces: start again")
        piece, truncated = _range(content, unit, offset, limit)
        facts = {"size_bytes": len(content), "version": current, "returned_bytes": len(piece), "truncated": truncated}
        if len(piece) <= INLINE_BYTES:
            return Reply(facts, {"content": piece})
        for start in range(0, len(piece), CHUNK_BYTES):
            call.emit("body", piece[start : start + CHUNK_BYTES])
        return Reply(facts)

    def write_file(self, call: Any, path: str, content: bytes | None = None, create_parents: bool = True) -> Any:
        """Replace a file, as the host's tool does."""
        data = b"".join(call.body()) if content is None else content
        with self._lock:
            created = path not in self.contents
            self.contents[path] = data
            self._versions[path] = self._versions.get(path, 0) + 1
        return {"bytes_written": len(data), "created": created}

    def list_files(
        self,
        path: str = ".",
        pattern: str | None = None,
        recursive: bool = False,
        hidden: bool = False,
        limit: int = 1000,
    ) -> Any:
        """Give the files there are. Folders are not known here: `recursive` makes no difference."""
        import fnmatch

        with self._lock:
            sizes = {name: len(content) for name, content in sorted(self.contents.items())}
        names = [name for name in sizes if pattern is None or fnmatch.fnmatch(name, pattern)]
        names = [name for name in names if hidden or not name.startswith(".")]
        entries = [{"path": name, "type": "file", "size_bytes": sizes[name]} for name in names[:limit]]
        return {"entries": entries, "truncated": len(names) > limit}


def as_bytes(content: str | bytes) -> bytes:
    """Give text as UTF-8, bytes as they are."""
    return content.encode() if isinstance(content, str) else bytes(content)


def complete(call: Any, value: Any) -> Reply:
    """Make what a tool function returned into the result the kernel expects of the tool of that name."""
    if isinstance(value, Reply):
        return value
    adapt = _ADAPTERS.get(call.tool)
    return adapt(call, value) if adapt is not None else Reply(value)


def _range(content: bytes, unit: str, offset: int | None, limit: int | None) -> tuple[bytes, bool]:
    if unit == "bytes":
        start = offset or 0
        end = len(content) if limit is None else start + limit
        return content[start:end], end < len(content)
    first = 1 if offset is None else offset
    if first < 1:
        raise InvalidToolRequestError("lines are counted from 1")
    lines = content.splitlines(keepends=True) if b"\r" not in content else _split(content)
    last = len(lines) if limit is None else first - 1 + limit
    return b"".join(lines[first - 1 : last]), last < len(lines)


def _split(content: bytes) -> list[bytes]:
    *lines, rest = content.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def _command(call: Any, value: Any) -> Reply:
    if isinstance(value, dict):
        return Reply(value)
    command = value if isinstance(value, Command) else Command(stdout="" if value is None else value)
    sizes = {}
    for stream, content in (("stdout", as_bytes(command.stdout)), ("stderr", as_bytes(command.stderr))):
        sizes[f"{stream}_bytes"] = call.emitted.get(stream, 0) + len(content)
        for start in range(0, len(content), CHUNK_BYTES):
            call.emit(stream, content[start : start + CHUNK_BYTES])
    facts = {"exit_code": command.exit_code, "duration_seconds": command.duration_seconds, **sizes}
    return Reply({**facts, "stdout_omitted": 0, "stderr_omitted": 0}, {"stdout_tail": b"", "stderr_tail": b""})


def _content(call: Any, value: Any) -> Reply:
    if not isinstance(value, str | bytes):
        return Reply(value)
    arguments = call.arguments
    content = {arguments["path"]: value}
    options = {name: arguments[name] for name in ("unit", "offset", "limit") if name in arguments}
    return FakeFiles(content).read_file(call, arguments["path"], **options)


def _written(call: Any, value: Any) -> Reply:
    size = len(call.arguments.get("content", b""))
    return Reply({"bytes_written": size, "created": True} if value is None else value)


def _search(call: Any, value: Any) -> Reply:
    return Reply({"provider": "fake", "results": list(value)} if isinstance(value, list | tuple) else value)


def _documents(call: Any, value: Any) -> Reply:
    if not isinstance(value, list | tuple):
        return Reply(value)
    documents, bulk = [], {}
    for number, (url, each) in enumerate(zip(call.arguments["urls"], value, strict=True)):
        document = {"markdown": each} if isinstance(each, str) else dict(each)
        bulk[f"markdown_{number}"] = as_bytes(document.pop("markdown", ""))
        documents.append({"url": url, "final_url": url, **document})
    return Reply({"documents": documents}, bulk)


def _answer(call: Any, value: Any) -> Reply:
    answer = value if isinstance(value, Answer) else Answer(value)
    body = b"" if answer.body is None else answer.body
    headers = {name.lower(): text for name, text in answer.headers.items()}
    if not isinstance(body, str | bytes):
        body = json.dumps(body)
        headers.setdefault("content-type", "application/json")
    elif isinstance(body, str):
        headers.setdefault("content-type", "text/plain; charset=utf-8")
    content = as_bytes(body)
    facts = {
        "status": answer.status,
        "reason": answer.reason,
        "headers": [[name, text] for name, text in headers.items()],
        "url": answer.url or call.arguments["url"],
        "returned_bytes": len(content),
        "size_bytes": len(content),
        "truncated": False,
    }
    facts |= {"redirects": 0, "history": [], "duration_seconds": 0.0}
    path = call.arguments.get("save_to")
    if path is not None and 200 <= answer.status < 300:
        facts |= {"returned_bytes": 0, "saved_to": path, "saved_bytes": len(content)}
        return Reply(facts, {"content": b""}, {path: content})
    most = call.arguments.get("max_bytes")
    if most is not None and len(content) > most:
        content = content[:most]
        facts.update(returned_bytes=most, truncated=True)
    if len(content) <= INLINE_BYTES:
        return Reply(facts, {"content": content})
    for start in range(0, len(content), CHUNK_BYTES):
        call.emit("body", content[start : start + CHUNK_BYTES])
    return Reply(facts)


_ADAPTERS: dict[str, Callable[[Any, Any], Reply]] = {
    "terminal": _command,
    "read_file": _content,
    "write_file": _written,
    "web_search": _search,
    "web_extract": _documents,
    "http_request": _answer,
}

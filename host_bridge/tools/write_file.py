"""`write_file`: put content in a file's place, or create it, whole or not at all.

Uploaded content goes straight to the new file, never into memory. The content only gets the file's name once all of it is
there, and if anything fails before, nothing has changed and nothing is left over.

Settings (`[tools.write_file]`): `max_bytes` (4 GiB), the largest content; `durable` (false), whether the disk must have
confirmed before the call succeeds.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from host_bridge.errors import CallError
from host_bridge.policy.model import Access
from host_bridge.policy.paths import ResolvedPath, is_local, quoted, resolve
from host_bridge.tools.atomic import Replacement
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput, Upload
from host_bridge.tools.settings import read_settings

_MAX_PREVIEW_BYTES = 2048  # a person who is asked sees small content; the rest is a digest


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[tools.write_file]`."""

    max_bytes: Annotated[int, Meta(ge=1)] = 4 * 2**30
    durable: bool = False


class WriteFile(Tool):
    """Create a file, or replace all of its content.

    Folders that are missing on the way are made unless create_parents is false. A replaced file keeps its mode. A link, and a
    file with several hard links, are refused.
    """

    name = "write_file"
    summary = "Create or replace a file, atomically."

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """As in a cell."""

        path: str
        content: bytes | Upload
        create_parents: bool = True

    def quick_prepare(self, arguments: Any, session: Session) -> bool:
        """Quick unless a digest of large content must be made, or the path may lead to a network drive."""
        small = not isinstance(arguments.content, bytes) or len(arguments.content) <= 256 * 2**10
        return small and not arguments.path.startswith("/") and is_local(session.workspace)

    def prepare(self, arguments: Any, session: Session) -> Call:
        """Find where the file is or will be, and hold its folder."""
        settings = read_settings(session, self.name, Settings)
        resolved = resolve(session.workspace, arguments.path, must_exist=False)
        try:
            if resolved.relative is not None and resolved.status is not None:
                resolved.require_file(write=True)
            return _Writing(resolved, arguments, settings)
        except BaseException:
            resolved.close()
            raise


class _Writing(Call):
    """One write, into a folder that is held since it was decided about."""

    def __init__(self, resolved: ResolvedPath, arguments: WriteFile.Arguments, settings: Settings) -> None:
        self._resolved = resolved
        self._content = arguments.content
        self._create_parents = arguments.create_parents
        self._max_bytes = settings.max_bytes
        self._durable = settings.durable
        self.resources = (resolved.resource(Access.WRITE),)
        self.shown = {
            "path": resolved.canonical,
            "content": _shown_content(arguments.content),
            "create_parents": arguments.create_parents,
        }

    def run(self, context: CallContext) -> ToolOutput:
        """Write it."""
        pieces = [self._content] if isinstance(self._content, bytes) else context.body()
        with Replacement(self._resolved, create_parents=self._create_parents, durable=self._durable) as replacement:
            for piece in pieces:
                context.check()
                if replacement.bytes_written + len(piece) > self._max_bytes:
                    raise self._too_large()
                replacement.write(piece)
            context.check()
            replacement.keep_image = context.keep_image
            replacement.commit()
            return ToolOutput({"bytes_written": replacement.bytes_written, "created": replacement.creates})

    def close(self) -> None:
        """Let go of the folder."""
        self._resolved.close()

    def _too_large(self) -> CallError:
        return CallError(
            f"the content for {quoted(self._resolved.asked)} is over the host's limit of {self._max_bytes} bytes for one "
            "call; nothing was written: write several files",
            remedy="[tools.write_file] max_bytes in the host's configuration",
        )


def _shown_content(content: bytes | Upload) -> Any:
    if not isinstance(content, bytes):
        return {"upload": "bytes that are sent after the answer"}  # no text that content could pass for
    shown: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    if len(content) <= _MAX_PREVIEW_BYTES:
        with contextlib.suppress(UnicodeDecodeError):  # not text: the digest has to do
            shown["text"] = content.decode()
    return shown

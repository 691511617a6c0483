"""What a request sends beside its headers: text, bytes, an upload, JSON or a form; and how it is shown before it is sent."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import urllib.parse
from collections.abc import Callable
from typing import IO, Any, Literal

from host_bridge.errors import CallError, InvalidCallError
from host_bridge.tools.interface import CallContext, Upload

INLINE_BYTES = 256 * 2**10  # what is larger takes a moment to make a digest of

_MAX_PREVIEW_BYTES = 2048  # a person who is asked sees a small body; the rest is a digest
_SPOOLED_BYTES = 2**20  # an upload of more waits on the disk until it is sent: it may have to be sent twice

Kind = Literal["none", "text", "bytes", "upload", "json", "form"]
_CONTENT_TYPES = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """One request's.

    Attributes:
        value: Text, bytes, plain data, or pairs of names and values, by kind; secrets by name.
    """

    kind: Kind
    value: Any = None

    @classmethod
    def of(cls, body: Any, plain: Any, form: Any) -> Body:
        """Read what a call says of it; None where it says nothing.

        Raises:
            InvalidCallError: It says more than one thing, or what can't be sent.
        """
        given = [name for name, value in (("body", body), ("json", plain), ("form", form)) if value is not None]
        if len(given) > 1:
            raise InvalidCallError(f"give {' or '.join(given)}, not both")
        if plain is not None:
            return cls("json", plain)
        if form is not None:
            return cls("form", form)
        match body:
            case None:
                return cls("none")
            case str():
                return cls("text", body)
            case bytes():
                return cls("bytes", body)
            case {} if not body:  # how an upload is announced
                return cls("upload", Upload())
            case Upload():
                return cls("upload", body)
        raise InvalidCallError("body is text or bytes; what becomes JSON is given as json")

    @property
    def content_type(self) -> str:
        """What to call it where the call doesn't; empty for bytes, of which only the call knows."""
        return _CONTENT_TYPES.get(self.kind, "")

    @property
    def is_quick(self) -> bool:
        """Whether a digest of it is made at once."""
        return not isinstance(self.value, str | bytes) or len(self.value) <= INLINE_BYTES

    def encoded(self, value: Any) -> bytes:
        """Give the bytes to send.

        Args:
            value: `value`, with or without the values of secrets.

        Raises:
            InvalidCallError: There are none.
        """
        match self.kind:
            case "json":
                try:
                    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
                except ValueError:
                    raise InvalidCallError(
                        "json holds a number that JSON doesn't have (NaN, infinity); give null"
                    ) from None
            case "form":
                return urllib.parse.urlencode([tuple(pair) for pair in value]).encode()
            case "text":
                return str(value).encode()
            case "bytes":
                return bytes(value)
        return b""

    def shown(self) -> Any:
        """Give it as decided about: whole while it is small text, else by its digest."""
        if self.kind == "none":
            return None
        if self.kind == "upload":
            return "upload"
        content = self.encoded(self.value)
        shown: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        if len(content) > _MAX_PREVIEW_BYTES or self.kind == "bytes":
            return shown
        # In a form's own spelling nobody would recognise a secret's name.
        return shown | ({"fields": self.value} if self.kind == "form" else {"text": content.decode()})


class Content:
    """A body's bytes, to be sent as often as redirects want it. Close it.

    Attributes:
        size: How many they are.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)

    @classmethod
    def of(cls, content: bytes) -> Content:
        """Of bytes that are there."""
        return cls(io.BytesIO(content))

    @classmethod
    def uploaded(cls, context: CallContext, check_size: Callable[[int], None]) -> Content:
        """Of an upload: taken whole before anything is sent, so that it is known to be whole, and how large it is."""
        # Imported by the first upload: most sessions have none.
        import tempfile

        file = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115 - closed by `close`
        try:
            size = 0
            for piece in context.body():
                context.check()
                size += len(piece)
                check_size(size)
                file.write(piece)
            return cls(file)
        except OSError as error:
            file.close()
            raise CallError(
                f"the body can't be kept until it is sent: {os.strerror(error.errno or 0)}; nothing was sent"
            ) from None
        except BaseException:
            file.close()
            raise

    def rewind(self) -> None:
        """Begin anew."""
        self._file.seek(0)

    def read(self, size: int) -> bytes:
        """Give the next bytes."""
        return self._file.read(size)

    def close(self) -> None:
        """Let go of them."""
        self._file.close()

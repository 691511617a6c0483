"""What a web service answered, as a value: `HttpResponse`."""

from __future__ import annotations

import codecs
import json as jsons
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from hermes_runtime._errors import ToolFailedError
from hermes_runtime._listing import Record, short_repr
from hermes_runtime._markup import block, details, escaped, link, table, visible

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before the next, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# They are codecs of text by name, but what they are for is something else; some take time that grows with the square.
_NO_TEXT = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"))


class Headers(Mapping[str, str]):
    """An answer's headers: names in any case, several of one name joined by commas.

    Args:
        fields: Names and values, in order.
    """

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = tuple((name.lower(), value) for name, value in fields)

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._fields))

    def __len__(self) -> int:
        return len(dict(self._fields))

    def get_all(self, name: str) -> list[str]:
        """Give each value of a name: for `set-cookie`, whose values have commas of their own."""
        return [value for known, value in self._fields if known == name.lower()]

    def __repr__(self) -> str:
        return short_repr(dict(self))


class Redirect(Record, frozen=True):
    """One redirect that was followed: what was asked, how it was answered, and where that pointed."""

    status: int
    method: str = ""
    url: str = ""
    location: str = ""


class HttpResponse:
    """What a web service answered, whatever the status.

    Attributes:
        status: The status code; `reason` is what the server wrote beside it.
        headers: By name, in any case.
        content: The body, decompressed.
        url: Where it came from, after redirects.
        history: The redirects that were followed, in order; `redirects` says how many.
        duration_seconds: How long it took, redirects and body included.
        saved_to: The file of the workspace that the body is in, None where it is in `content`.
        saved_bytes: How long that is.
        truncated: Whether the body goes on beyond `max_bytes` or the host's limit.
        size_bytes: How long the server says the whole body is, None where it doesn't say.
    """

    def __init__(
        self,
        status: int,
        *,
        reason: str = "",
        headers: Iterable[tuple[str, str]] = (),
        content: bytes = b"",
        url: str = "",
        redirects: int = 0,
        truncated: bool = False,
        size_bytes: int | None = None,
        history: Iterable[Redirect] = (),
        duration_seconds: float = 0.0,
        saved_to: str | None = None,
        saved_bytes: int = 0,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = Headers(headers)
        self.content = content
        self.url = url
        self.redirects = redirects
        self.truncated = truncated
        self.size_bytes = size_bytes
        self.history = tuple(history)
        self.duration_seconds = duration_seconds
        self.saved_to = saved_to
        self.saved_bytes = saved_bytes

    @property
    def ok(self) -> bool:
        """Whether the status says that it worked: below 400."""
        return self.status < 400

    @property
    def encoding(self) -> str:
        """What the body's text is encoded in.

        As the server says, where Python knows that. Else what its first bytes mark it as; else UTF-8 if that is what it is,
        and Windows-1252, of which nearly every byte is a character, if not. Nothing is guessed beyond that.
        """
        said = self._charset()
        if said:
            return said
        for mark, encoding in _MARKS:
            if self.content.startswith(mark):
                return encoding
        try:
            codecs.getincrementaldecoder("utf-8")().decode(self.content, final=not self.truncated)
        except UnicodeDecodeError:
            return "windows-1252"
        return "utf-8"

    @property
    def text(self) -> str:
        """The body as text; bytes that are none are replaced."""
        self._require_content()
        return self.content.decode(self.encoding, errors="replace")

    def json(self) -> Any:
        """Give the body, read as JSON.

        Raises:
            ToolFailedError: It was cut, or it isn't JSON.
        """
        self._require_content()
        if self.truncated:
            raise ToolFailedError(f"{self._line()}: the body was cut, so it is no JSON; give max_bytes more")
        try:
            return jsons.loads(self.content)
        except ValueError as error:
            raise ToolFailedError(f"{self._line()}: the body is no JSON ({error}); see .text") from None

    def check(self) -> Self:
        """Give the answer itself if it worked.

        Raises:
            ToolFailedError: The status is 400 or more; the text ends with the beginning of the body.
        """
        if self.ok:
            return self
        said = " ".join(self.text[:500].split())
        raise ToolFailedError(self._line() + (f"\n{said}" if said else ""))

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "status": self.status,
            "reason": self.reason,
            "headers": dict(self.headers),
            "content": self.content,
            "url": self.url,
            "redirects": self.redirects,
            "truncated": self.truncated,
            "size_bytes": self.size_bytes,
            "history": [redirect.as_dict() for redirect in self.history],
            "duration_seconds": self.duration_seconds,
            "saved_to": self.saved_to,
            "saved_bytes": self.saved_bytes,
        }

    def _charset(self) -> str:
        """Give the charset that the server names, if it is one of text; else nothing."""
        for parameter in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                charset = value.strip().strip("\"'")
                try:
                    if (
                        isinstance(b" ".decode(charset, "replace"), str)
                        and codecs.lookup(charset).name.replace("-", "_") not in _NO_TEXT
                    ):
                        return charset
                except (LookupError, ValueError):  # also a codec that is none for text
                    return ""
        return ""

    def _require_content(self) -> None:
        if self.saved_to is not None:
            raise ToolFailedError(f"{self._line()}: the body is in {self.saved_to}; hermes.read_file reads it")

    def _line(self) -> str:
        return f"{short_repr(self.url)} answered {self.status} {self.reason[:100]}".rstrip()

    def _size(self) -> str:
        if self.saved_to is not None:
            return f"{self.saved_bytes:,} bytes in {short_repr(self.saved_to)}"
        size = f"{len(self.content):,} bytes"
        if not self.truncated:
            return size
        return f"the first {size}" + ("" if self.size_bytes is None else f" of {self.size_bytes:,}")

    def __repr__(self) -> str:
        kind = self.headers.get("content-type", "")
        parts = [f"{self.status} {self.reason[:40]}".rstrip(), short_repr(self.url), kind[:80], self._size()]
        return f"<HttpResponse {visible(', '.join(part for part in parts if part))}>"

    def _repr_html_(self) -> str:
        head = block(f"<b>{self.status} {escaped(self.reason[:100])}</b> {link(self.url, self.url)}")
        rows = table(("", ""), list(self.headers.items()))
        content = details(self._size(), self.text) if self.saved_to is None else block(escaped(self._size()))
        return f"{head}<details><summary>headers</summary>{rows}</details>{content}"

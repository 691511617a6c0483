"""Requests to web services, made by the host: `http_request`, and what it gives.

token = hermes.secret("GITEA_TOKEN")
answer = hermes.http_request("GET", "https://git.example.org/api/v1/user", headers={"Authorization": "token " + token})
answer.check().json()["login"]
"""

from __future__ import annotations

import io
import json as jsons
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from hermes_protocol.frames import Frame
from hermes_runtime._arguments import check_seconds, split_arguments
from hermes_runtime._blocking import mapping, tool
from hermes_runtime._calls import Operation
from hermes_runtime._errors import InvalidToolRequestError, ToolFailedError
from hermes_runtime._files import WINDOW_BYTES
from hermes_runtime._listing import short_repr
from hermes_runtime._markup import block, details, escaped, link, table, visible
from hermes_runtime._results import convert
from hermes_runtime._secrets import Marks, SecretHandle, SecretText, is_hidden, take_handles

SECONDS = 30.0

Hidden = SecretHandle | SecretText


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


class HttpResponse:
    """What a web service answered, whatever the status.

    Attributes:
        status: The status code; `reason` is what the server wrote beside it.
        headers: By name, in any case.
        content: The body, decompressed.
        url: Where it came from, after redirects; `redirects` says how many there were.
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
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = Headers(headers)
        self.content = content
        self.url = url
        self.redirects = redirects
        self.truncated = truncated
        self.size_bytes = size_bytes

    @property
    def ok(self) -> bool:
        """Whether the status says that it worked: below 400."""
        return self.status < 400

    @property
    def encoding(self) -> str:
        """What the body's text is encoded in, as the server says; UTF-8 where it doesn't, or says nonsense."""
        for parameter in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                try:
                    b"".decode(charset := value.strip().strip("\"'"))
                except (LookupError, ValueError):
                    break
                return charset
        return "utf-8"

    @property
    def text(self) -> str:
        """The body as text; bytes that are none are replaced."""
        try:
            return self.content.decode(self.encoding, errors="replace")
        except (LookupError, ValueError):  # a codec that is none for text, or knows no replacing
            return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Give the body, read as JSON.

        Raises:
            ToolFailedError: It was cut, or it isn't JSON.
        """
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
        }

    def _line(self) -> str:
        return f"{short_repr(self.url)} answered {self.status} {self.reason[:100]}".rstrip()

    def _size(self) -> str:
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
        return f"{head}<details><summary>headers</summary>{rows}</details>{details(self._size(), self.text)}"


class RequestOperation(Operation[HttpResponse]):
    """One request; its body comes in the reply or before it, by size."""

    __slots__ = ("_body",)

    def __init__(
        self, arguments: dict[str, Any], seconds: float, contents: Mapping[str, memoryview], secrets: Marks
    ) -> None:
        super().__init__(
            "http_request", arguments, seconds, contents=contents, window_bytes=WINDOW_BYTES, secrets=secrets
        )
        self._body: io.BytesIO | None = None

    def take(self, stream: str, data: Frame) -> None:
        """Collect the body."""
        if self._body is None:
            self._body = io.BytesIO()
        self._body.write(data)

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> HttpResponse:
        """Check that all of it has come, and make the value."""
        fields = mapping(result, self.tool)
        content = bytes(bulk.get("content", b"")) if self._body is None else self._body.getvalue()
        if len(content) != fields.get("returned_bytes", len(content)):
            raise ToolFailedError(
                f"{len(content)} bytes of the answer arrived, of {fields['returned_bytes']}; whether to ask again is up to you"
            )
        size = fields.get("size_bytes")
        return HttpResponse(
            convert(fields.get("status"), int, self.tool),
            reason=str(fields.get("reason", "")),
            headers=convert(fields.get("headers", []), list[tuple[str, str]], self.tool),
            content=content,
            url=str(fields.get("url", "")),
            redirects=convert(fields.get("redirects", 0), int, self.tool),
            truncated=fields.get("truncated") is True,
            size_bytes=size if isinstance(size, int) else None,
        )


@tool
def http_request(
    method: str,
    url: str,
    headers: Mapping[str, str | Hidden] | None = None,
    body: str | bytes | Hidden | None = None,
    json: Any = None,
    *,
    timeout: float = SECONDS,
    max_bytes: int | None = None,
) -> Operation[HttpResponse]:
    """Make an HTTP request from the host, such as to a REST API.

    Secrets are put in by the host, where handles from `hermes.secret` stand: in headers, in json, or in a text as body. They go
    to hosts only that their configuration names, encrypted, and not along with a redirect to another place.

    Args:
        method: `"GET"`, `"HEAD"`, `"OPTIONS"`, `"POST"`, `"PUT"`, `"PATCH"` or `"DELETE"`.
        url: Where to.
        headers: By name. Those of the connection (`Host`, `Content-Length`, …) are the host's.
        body: Text, or bytes of any size the host allows.
        json: What to send as JSON, instead of a body.
        timeout: Seconds it may take, redirects included.
        max_bytes: How much of the answer's body to give at most.

    Returns:
        An `HttpResponse` with `.status`, `.ok`, `.headers`, `.content`, `.text`, `.json()`, `.check()`. A status of 400 or more
        is an answer too, and no exception.

    Raises:
        ToolDeniedError: It isn't allowed; or the answer redirects to what isn't.
    """
    if is_hidden(url) or is_hidden(method):
        raise InvalidToolRequestError(
            "no secret can stand in a URL, which servers write into logs: use a header or the body"
        )
    given: dict[str, Any] = {"method": method, "url": url, "headers": dict(headers or {})}
    given |= {"body": body, "json": json, "max_bytes": max_bytes}
    taken, marks = take_handles({name: value for name, value in given.items() if value is not None})
    arguments, contents = split_arguments(taken)
    return RequestOperation(arguments, check_seconds(timeout), contents, marks)

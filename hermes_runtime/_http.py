"""Requests to web services, made by the host: `http_request`.

token = hermes.secret("GITEA_TOKEN")
answer = hermes.http_request("GET", "https://git.example.org/api/v1/user", headers={"Authorization": "token " + token})
answer.check().json()["login"]
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from hermes_protocol.frames import Frame
from hermes_runtime._arguments import check_seconds, split_arguments
from hermes_runtime._blocking import Path, mapping, tool
from hermes_runtime._calls import Operation
from hermes_runtime._errors import InvalidToolRequestError, ToolFailedError
from hermes_runtime._files import WINDOW_BYTES, plain_path
from hermes_runtime._http_response import HttpResponse, Redirect
from hermes_runtime._http_sending import credentials, fields, multipart, whole_url
from hermes_runtime._results import convert
from hermes_runtime._secrets import Marks, SecretHandle, SecretText, is_hidden, take_handles

SECONDS = 30.0

Hidden = SecretHandle | SecretText


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
        size, saved_to = fields.get("size_bytes"), fields.get("saved_to")
        return HttpResponse(
            convert(fields.get("status"), int, self.tool),
            reason=str(fields.get("reason", "")),
            headers=convert(fields.get("headers", []), list[tuple[str, str]], self.tool),
            content=content,
            url=str(fields.get("url", "")),
            redirects=convert(fields.get("redirects", 0), int, self.tool),
            history=convert(fields.get("history", []), list[Redirect], self.tool),
            duration_seconds=convert(fields.get("duration_seconds", 0.0), float, self.tool),
            saved_to=saved_to if isinstance(saved_to, str) else None,
            saved_bytes=convert(fields.get("saved_bytes", 0), int, self.tool),
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
    params: Any = None,
    data: Any = None,
    files: Any = None,
    auth: Any = None,
    save_to: Path | None = None,
    timeout: float = SECONDS,
    max_bytes: int | None = None,
) -> Operation[HttpResponse]:
    """Make an HTTP request from the host, such as to a REST API.

    Secrets are put in by the host, where handles from `hermes.secret` stand: in headers, in auth, in json, in data without
    files, or in a text as body. They go to hosts only that their configuration names, encrypted, and not along with a redirect
    to another place.

    Args:
        method: `"GET"`, `"HEAD"`, `"OPTIONS"`, `"POST"`, `"PUT"`, `"PATCH"` or `"DELETE"`.
        url: Where to.
        headers: By name. Those of the connection (`Host`, `Content-Length`, …) are the host's.
        body: Text, or bytes of any size the host allows.
        json: What to send as JSON, instead of a body.
        params: What to put into the URL's query: a dict whose values may be lists, or pairs.
        data: A form's fields, in the same way, instead of a body.
        files: Files to send with the form: `{"field": ("name.csv", b"…")}`, or with `"text/csv"` as a third.
        auth: `("user", hermes.secret("NAME"))`, or `hermes.secret("NAME")` for a bearer token. It stays behind when the answer
            redirects to another place.
        save_to: A file of the workspace for the body, if the status says that it worked. Written whole or not at all, under
            the rules for `write_file` as well.
        timeout: Seconds it may take, redirects included.
        max_bytes: How much of the answer's body to give at most. More than that is not saved, but an error.

    Returns:
        An `HttpResponse` with `.status`, `.ok`, `.headers`, `.content`, `.text`, `.json()`, `.check()`, `.url`, `.history`. A
        status of 400 or more is an answer too, and no exception.

    Raises:
        ToolDeniedError: It isn't allowed; or the answer redirects to what isn't.
    """
    if is_hidden(method):
        raise InvalidToolRequestError("no secret can be a method")
    given: dict[str, Any] = {"method": method, "url": whole_url(url, params), "headers": dict(headers or {})}
    given |= {"body": body, "json": json, "max_bytes": max_bytes}
    if data is not None or files is not None:
        if body is not None or json is not None:
            raise InvalidToolRequestError("give one of body, json, and data with or without files")
        _put_form(given, data, files)
    if auth is not None:
        given["auth"] = credentials(auth)
    if save_to is not None:
        given["save_to"] = plain_path(save_to)
    taken, marks = take_handles({name: value for name, value in given.items() if value is not None})
    arguments, contents = split_arguments(taken)
    return RequestOperation(arguments, check_seconds(timeout), contents, marks)


def _put_form(given: dict[str, Any], data: Any, files: Any) -> None:
    """Put a form among the arguments: its fields, which the host puts together, or with files the body that it is."""
    if files is None:
        given["form"] = [list(field) for field in fields(data, "data")]
        return
    if any(name.lower() == "content-type" for name in given["headers"]):
        raise InvalidToolRequestError("with files the header Content-Type is made for them: leave it out")
    given["body"], given["headers"]["Content-Type"] = multipart(data, files)

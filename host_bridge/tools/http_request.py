"""Makes one HTTP request, and gives the answer whatever its status.

    prepare   method, URL, headers and body into what is decided about; what can't be allowed is refused without asking anybody
    run       in a web worker, with the values of secrets in their places; every redirect comes back here and is decided about

A redirect is another request. One that carries a secret is not made at another scheme, host or port, whatever the rules say;
of a request without, another place gets only the headers that say nothing of who asks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from host_bridge.errors import CallError, CallTimeoutError, DeniedError, InvalidCallError
from host_bridge.policy.methods import request_to
from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import join_url, url_text
from host_bridge.secrets.vault import RESOURCE
from host_bridge.secrets.veil import Values, VeiledStream
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput, Upload
from host_bridge.tools.settings import read_settings
from host_bridge.tools.web.jobs import Answer, Problem, Received, Redirected, Send
from host_bridge.tools.web.places import Places
from host_bridge.tools.web.workers import WebWorker, WebWorkers

INLINE_BYTES = 256 * 2**10  # larger answers are streamed
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 2**10  # of all together: many servers accept no more

_MAX_BODY_BYTES = 12 * 2**20  # has to fit into one job with everything beside it
_MAX_PREVIEW_BYTES = 2048  # a person who is asked sees a small body; the rest is a digest
_CHECK_SECONDS = 0.1
_LATE_SECONDS = 1.0  # a worker keeps its own time; one that doesn't answer soon after is not waited for
_REPLY_SECONDS = 0.5  # kept back from the call's time, so that the reason arrives
_PIECE_BYTES = 2**20

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"(?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?")
_OURS = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
    )
)
"""What belongs to the connection, and so is said by whoever makes it."""
_SAYING_NOTHING = frozenset(("accept", "accept-language", "content-type", "content-language", "user-agent"))
"""What another place than the one that was asked gets to see too."""


class HttpRequestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tools.http_request]`.

    Attributes:
        ports: Which ports may be used.
        allow_private: `host:port` of services that may be used though they are on this machine or network.
        max_redirects: How many redirects are followed.
        max_bytes: How much of an answer's body is read, decompressed.
        max_body_bytes: How much may be sent.
        timeout_seconds: How long a request may take, redirects included.
        user_agent: How we introduce ourselves.
        worker_memory_bytes: How much memory the process that makes requests may take.
    """

    ports: tuple[Annotated[int, Meta(ge=1, le=65_535)], ...] = (80, 443)
    allow_private: tuple[str, ...] = ()
    max_redirects: Annotated[int, Meta(ge=0, le=100)] = 5
    max_bytes: Annotated[int, Meta(ge=1, le=_MAX_BODY_BYTES)] = 8 * 2**20
    max_body_bytes: Annotated[int, Meta(ge=0, le=_MAX_BODY_BYTES)] = 8 * 2**20
    timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 300.0
    user_agent: Annotated[str, Meta(pattern=r"\A[ -~]{1,200}\Z")] = "hermes-runtime"
    worker_memory_bytes: Annotated[int, Meta(ge=256 * 2**20)] = 1 * 2**30

    @property
    def places(self) -> Places:
        """Where it may go."""
        return Places("http_request", self.ports, self.allow_private)


class HttpRequest(Tool):
    """Make one HTTP request, and give status, headers and body.

    Secrets may stand in headers, in json and in a body that is text. They go to the hosts that their configuration names only.
    """

    name = "http_request"
    summary = "Make an HTTP request, to speak to a REST API."
    gives_untrusted = True
    secret_arguments = frozenset(("headers", "body", "json"))

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """What a kernel may say."""

        method: str
        url: str
        headers: Annotated[dict[str, str], Meta(max_length=MAX_HEADERS)] = {}
        body: Any = None  # text, bytes or an upload: msgspec knows no union of the first two
        json: Any = None
        max_bytes: Annotated[int, Meta(ge=1)] | None = None

    def quick_prepare(self, arguments: Arguments, session: Session) -> bool:
        """Quick unless a digest of a large body must be made: names are not looked up before the call is allowed."""
        return not isinstance(arguments.body, str | bytes) or len(arguments.body) <= INLINE_BYTES

    def prepare(self, arguments: Arguments, session: Session) -> Call:
        """Read the request."""
        settings = read_settings(session, self.name, HttpRequestSettings)
        url = request_to(arguments.method, arguments.url)
        settings.places.check(url)
        if arguments.body is not None and arguments.json is not None:
            raise InvalidCallError("give body or json, not both")
        _check_headers(arguments.headers)
        if arguments.body == {}:  # how an upload is announced
            arguments = msgspec.structs.replace(arguments, body=Upload())
        if not isinstance(arguments.body, str | bytes | Upload | None):
            raise InvalidCallError("body is text or bytes; what becomes JSON is given as json")
        return _Exchange(arguments, url, settings)


class _Exchange(Call):
    """One request, and those that its redirects make of it."""

    def __init__(self, arguments: HttpRequest.Arguments, url: UrlResource, settings: HttpRequestSettings) -> None:
        self._headers = {name.lower(): value for name, value in arguments.headers.items()}
        self._headers.setdefault("user-agent", settings.user_agent)
        self._headers.setdefault("accept", "*/*")
        self._body: Any = arguments.body
        self._is_json = arguments.json is not None
        if self._is_json:
            self._body = arguments.json
            self._headers.setdefault("content-type", "application/json")
        elif isinstance(self._body, str):
            self._headers.setdefault("content-type", "text/plain; charset=utf-8")
        self._url = url
        self._settings = settings
        self._max_bytes = min(arguments.max_bytes or settings.max_bytes, settings.max_bytes)
        self.resources = (url,)
        self.shown = {
            "method": url.method,
            "url": url_text(url),
            "headers": self._headers,
            "body": self._shown_body(),
            "max_bytes": self._max_bytes,
        }
        if not isinstance(self._body, Upload):
            self._check_size(len(self._encoded(self._body) or b""))

    def run(self, context: CallContext) -> ToolOutput:
        """Ask, and follow."""
        body = self._uploaded(context) if isinstance(self._body, Upload) else self._body
        deadline = self._deadline(context)
        url, headers, redirects = self._url, self._headers, 0
        with WebWorkers.of(context.session).lend(context, self._settings.worker_memory_bytes) as worker:
            while True:
                revealed = context.reveal([headers, body], url)
                carries_secret = revealed != [headers, body]
                answer = self._ask(context, worker, url, revealed[0], revealed[1], carries_secret, deadline)
                if not isinstance(answer, Redirected):
                    break
                redirects += 1
                url, is_elsewhere = self._follow(context, url, answer, redirects, carries_secret)
                if is_elsewhere:
                    headers = {name: value for name, value in headers.items() if name in _SAYING_NOTHING}
                if url.method != self._url.method:
                    body = None
                    headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
        context.check()
        return self._output(context, url, answer, redirects)

    def _ask(
        self,
        context: CallContext,
        worker: WebWorker,
        url: UrlResource,
        headers: dict[str, str],
        body: Any,
        carries_secret: bool,
        deadline: float,
    ) -> Received | Redirected:
        """Make one request."""
        for name, value in headers.items():
            if not _VALUE.fullmatch(value):
                raise InvalidCallError(
                    f"the secret in the header {name} has a line break or another character that no header can hold"
                )
        if (left := deadline - time.monotonic()) <= 0:
            raise self._too_slow()
        job = worker.new_job()
        worker.send(
            Send(
                job=job,
                method=url.method,
                scheme=url.scheme,
                host=url.host,
                port=url.port,
                path=url.path,
                headers=headers,
                body=self._encoded(body),
                any_address=self._settings.places.are_allowed(url),
                only_loopback=carries_secret and url.scheme != "https",
                max_bytes=self._max_bytes,
                timeout_seconds=left,
                tool=HttpRequest.name,
            )
        )
        answer: Answer | None = None
        while answer is None:
            context.check()
            if time.monotonic() > deadline + _LATE_SECONDS:
                raise self._too_slow()
            answer = worker.receive(_CHECK_SECONDS)
        match answer:
            case Received() | Redirected():
                return answer
            case Problem(kind="timed_out"):
                raise CallTimeoutError(answer.message)
            case Problem(kind="denied"):
                raise DeniedError(answer.message, rule_id=f"{HttpRequest.name}:address")
            case Problem():
                raise CallError(answer.message)
        raise CallError("the host read something else than an answer")

    def _follow(
        self, context: CallContext, url: UrlResource, answer: Redirected, redirects: int, carries_secret: bool
    ) -> tuple[UrlResource, bool]:
        """Give the request that a redirect asks for, if that is allowed, and whether it is for another place.

        Raises:
            CallError: It is not followed; says why.
        """
        if redirects > self._settings.max_redirects:
            raise CallError(f"it redirects more than {self._settings.max_redirects} times")
        try:
            target = join_url(url, answer.location)
        except InvalidCallError as error:
            raise CallError(f"it redirects to what can't be asked: {error}") from None
        target = dataclasses.replace(target, method=_method_after(answer.status, url.method))
        shown = url_text(target)[:500]
        is_elsewhere = (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port)
        if is_elsewhere and carries_secret:
            raise DeniedError(
                f"the request carries a secret, and the answer redirects to another place, {shown}; it was not repeated "
                "there: ask that place itself if it may have the secret",
                rule_id=f"{HttpRequest.name}:redirect",
            )
        try:
            self._settings.places.check(target)
            context.authorise(target)
        except DeniedError as error:
            raise DeniedError(f"it redirects to {shown}: {error}", rule_id=error.rule_id, remedy=error.remedy) from None
        return target, is_elsewhere

    def _output(self, context: CallContext, url: UrlResource, answer: Received, redirects: int) -> ToolOutput:
        content = _without_secrets(context.session, answer)
        value = {
            "status": answer.status,
            "reason": answer.reason,
            "headers": [list(field) for field in answer.headers],
            "url": url_text(url),
            "redirects": redirects,
            "returned_bytes": len(content),
            "size_bytes": answer.size_bytes,
            "truncated": answer.truncated,
        }
        if len(content) <= INLINE_BYTES:
            return ToolOutput(value, {"content": content})
        for start in range(0, len(content), _PIECE_BYTES):
            context.emit("body", content[start : start + _PIECE_BYTES])
        return ToolOutput(value)

    def _deadline(self, context: CallContext) -> float:
        left = max(0.0, context.remaining_seconds() - _REPLY_SECONDS)
        return time.monotonic() + min(self._settings.timeout_seconds, left)

    def _uploaded(self, context: CallContext) -> bytes:
        body = bytearray()
        for piece in context.body():
            context.check()
            body += piece
            self._check_size(len(body))
        return bytes(body)

    def _encoded(self, body: Any) -> bytes | None:
        if self._is_json and body is not None:
            try:
                return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
            except ValueError:
                raise InvalidCallError(
                    "json holds a number that JSON doesn't have (NaN, infinity); give null"
                ) from None
        return body.encode() if isinstance(body, str) else body

    def _shown_body(self) -> Any:
        if self._body is None or isinstance(self._body, Upload):
            return None if self._body is None else "upload"
        content = self._encoded(self._body) or b""
        shown: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        if len(content) <= _MAX_PREVIEW_BYTES and not isinstance(self._body, bytes):
            shown["text"] = content.decode()
        return shown

    def _check_size(self, size: int) -> None:
        if size > self._settings.max_body_bytes:
            raise CallError(
                f"the body is over the host's limit of {self._settings.max_body_bytes} bytes; nothing was sent",
                remedy="[tools.http_request] max_body_bytes in the host's configuration",
            )

    def _too_slow(self) -> CallError:
        return CallTimeoutError(
            f"there was no answer within {self._settings.timeout_seconds:g} s, or within the call's time; "
            "whether the server did what was asked is not known"
        )


def _check_headers(headers: dict[str, str]) -> None:
    """Refuse headers that could be read in two ways, or that speak of the connection.

    Raises:
        InvalidCallError: Names the header.
    """
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if not _NAME.fullmatch(name):
            raise InvalidCallError(f"{name[:100]!a} can't be a header's name")
        if lower in _OURS or lower.startswith("proxy-"):
            raise InvalidCallError(f"the header {name} belongs to the connection, and the host sends it; leave it out")
        if lower in seen:
            raise InvalidCallError(f"the header {name} is given twice")
        seen.add(lower)
        if not _VALUE.fullmatch(value) or not value.isprintable():
            raise InvalidCallError(f"the header {name} has a line break, an invisible character, or blanks at an end")
    size = sum(len(name) + len(value.encode(errors="replace")) for name, value in headers.items())
    if size > MAX_HEADER_BYTES:
        raise InvalidCallError(f"the headers have {size} bytes, over the limit of {MAX_HEADER_BYTES}")


def _method_after(status: int, method: str) -> str:
    """Give the method that a redirect asks for, as browsers do it (RFC 9110, 15.4)."""
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        return "GET"
    return method


def _without_secrets(session: Session, answer: Received) -> bytes:
    """Give a body without values of secrets; where it was cut, without the beginning of one either."""
    values: Values | None = session.resources.get(RESOURCE)
    if values is None:
        return answer.body
    stream = VeiledStream(values)
    content = stream.feed(answer.body)
    return content if answer.truncated else content + stream.finish()

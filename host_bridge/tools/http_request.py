"""Makes one HTTP request, and gives the answer whatever its status.

    prepare   method, URL, headers and body into what is decided about; what can't be allowed is refused without asking anybody
    run       in a web worker, with the values of secrets in their places; every redirect comes back here and is decided about

A redirect is another request. One that carries a secret in its headers or body is not made at another scheme, host or port,
whatever the rules say; credentials (`auth`) stay behind. Another place gets only the headers that say nothing of who asks.

An answer's body goes to the kernel piece by piece, or into a file of the workspace: nothing here holds more than a piece.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from host_bridge.errors import CallError, CallTimeoutError, DeniedError, InvalidCallError
from host_bridge.policy.methods import request_to
from host_bridge.policy.model import Access, Resource, UrlResource
from host_bridge.policy.origins import url_text
from host_bridge.policy.paths import ResolvedPath, is_local, quoted, resolve
from host_bridge.secrets.vault import RESOURCE
from host_bridge.secrets.veil import Values, VeiledStream
from host_bridge.tools import write_file
from host_bridge.tools.atomic import Replacement
from host_bridge.tools.delivery import Delivery
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.settings import read_settings
from host_bridge.tools.web.bodies import Body, Content
from host_bridge.tools.web.headers import MAX_HEADERS, Credentials, check_headers
from host_bridge.tools.web.jobs import Answer, Begun, Ended, Part, Piece, Problem, Redirected, Send, Wanted
from host_bridge.tools.web.journeys import CHECK_SECONDS, Journey, WebSettings, is_elsewhere, shown_place
from host_bridge.tools.web.letters import Letter, Sealed
from host_bridge.tools.web.workers import WebWorker, WebWorkers

_PART_BYTES = 256 * 2**10
_MAX_FIELDS = 1000


class HttpRequestSettings(WebSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tools.http_request]`.

    Attributes:
        timeout_seconds: How long a request may take, redirects included.
        max_bytes: How much of an answer's body is given to the kernel, decompressed.
        max_body_bytes: How much may be sent.
    """

    tool: ClassVar[str] = "http_request"

    timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] = 300.0
    max_bytes: Annotated[int, Meta(ge=1, le=4 * 2**30)] = 64 * 2**20
    max_body_bytes: Annotated[int, Meta(ge=0, le=4 * 2**30)] = 64 * 2**20


class HttpRequest(Tool):
    """Make one HTTP request, and give status, headers and body.

    Secrets may stand in headers, auth, json, form and in a body that is text. They go to the hosts that their configuration
    names only. With save_to, the body of an answer that says it worked becomes that file.
    """

    name = "http_request"
    summary = "Make an HTTP request, to speak to a REST API."
    gives_untrusted = True
    secret_arguments = frozenset(("headers", "auth", "body", "json", "form"))

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """What a kernel may say."""

        method: str
        url: str
        headers: Annotated[dict[str, str], Meta(max_length=MAX_HEADERS)] = {}
        body: Any = None  # text, bytes or an upload: msgspec knows no union of the first two
        json: Any = None
        max_bytes: Annotated[int, Meta(ge=1)] | None = None
        form: Annotated[list[tuple[str, str]], Meta(max_length=_MAX_FIELDS)] | None = None
        auth: str | tuple[str, str] | None = None
        save_to: str | None = None

    def quick_prepare(self, arguments: Arguments, session: Session) -> bool:
        """Quick unless a digest of a large body must be made, or a path may lead to a network drive.

        Names are not looked up before the call is allowed.
        """
        path = arguments.save_to
        is_here = path is None or (not path.startswith("/") and is_local(session.workspace))
        return is_here and Body("bytes", arguments.body).is_quick

    def prepare(self, arguments: Arguments, session: Session) -> Call:
        """Read the request."""
        settings = read_settings(session, self.name, HttpRequestSettings)
        url = request_to(arguments.method, arguments.url)
        settings.places.check(url)
        body = Body.of(arguments.body, arguments.json, arguments.form)
        check_headers(arguments.headers)
        auth = None if arguments.auth is None else Credentials.of(arguments.auth, arguments.headers)
        letter = Letter.of(arguments.headers, body, auth, user_agent=settings.user_agent)
        if arguments.save_to is None:
            return _Request(letter, url, arguments.max_bytes, settings, None, write_file.Settings())
        if url.method == "HEAD":
            raise InvalidCallError("the answer to HEAD has no body that could be saved")
        writing = read_settings(session, "write_file", write_file.Settings)
        target = resolve(session.workspace, arguments.save_to, must_exist=False)
        try:
            if target.relative is not None and target.status is not None:
                target.require_file(write=True)
            return _Request(letter, url, arguments.max_bytes, settings, target, writing)
        except BaseException:
            target.close()
            raise


class _Request(Call):
    """One request, and those that its redirects make of it."""

    def __init__(
        self,
        letter: Letter,
        url: UrlResource,
        max_bytes: int | None,
        settings: HttpRequestSettings,
        target: ResolvedPath | None,
        writing: write_file.Settings,
    ) -> None:
        self._letter = letter
        self._url = url
        self._settings = settings
        self._target = target
        self._writing = writing
        self._max_bytes = min(max_bytes or settings.max_bytes, settings.max_bytes)
        self._max_saved_bytes = min(max_bytes or writing.max_bytes, writing.max_bytes)
        resources: tuple[Resource, ...] = (url,)
        self.shown = {
            "method": url.method,
            "url": url_text(url),
            "headers": letter.headers,
            "body": letter.body.shown(),
            "max_bytes": self._max_bytes,
        }
        if letter.auth is not None:
            self.shown["auth"] = letter.auth.shown()
        if target is not None:
            resources = (url, target.resource(Access.WRITE))
            self.shown |= {"save_to": target.canonical, "max_bytes": self._max_saved_bytes}
        self.resources = resources
        if letter.body.kind != "upload":
            self._check_size(len(letter.body.encoded(letter.body.value)))

    def run(self, context: CallContext) -> ToolOutput:
        """Ask, and follow."""
        with contextlib.ExitStack() as stack:
            upload = None
            if self._letter.body.kind == "upload":
                upload = stack.enter_context(contextlib.closing(Content.uploaded(context, self._check_size)))
            journey, letter = Journey(self._url, self._settings, context), self._letter
            sealed = letter.seal(context, journey.url, upload)
            worker = stack.enter_context(
                WebWorkers.of(context.session).lend(context, self._settings.worker_memory_bytes)
            )
            while isinstance(answer := self._ask(context, worker, journey, sealed), Redirected):
                letter = self._follow(context, journey, letter, answer, sealed.is_bound)
                sealed = letter.seal(context, journey.url, upload)
            return self._receive(context, worker, journey, answer)

    def close(self) -> None:
        """Let go of the folder that would be written into."""
        if self._target is not None:
            self._target.close()

    def _ask(self, context: CallContext, worker: WebWorker, journey: Journey, sealed: Sealed) -> Begun | Redirected:
        """Make one request."""
        url, content = journey.url, sealed.content
        if (left := journey.seconds_left()) <= 0:
            raise self._too_slow()
        if content is not None:
            content.rewind()
        job = worker.new_job()
        worker.send(
            Send(
                job=job,
                method=url.method,
                scheme=url.scheme,
                host=url.host,
                port=url.port,
                path=url.path,
                headers=sealed.headers,
                body_bytes=None if content is None else content.size,
                any_address=self._settings.places.are_allowed(url),
                only_loopback=sealed.has_secret and url.scheme != "https",
                max_bytes=self._max_bytes,
                max_success_bytes=self._max_bytes if self._target is None else self._max_saved_bytes,
                timeout_seconds=left,
                tool=HttpRequest.name,
            )
        )
        while True:
            match self._next(context, worker, journey):
                case Wanted() if content is not None:
                    worker.give(Part(job=job, data=content.read(_PART_BYTES)))
                case Begun() | Redirected() as answer:
                    return answer
                case _:
                    raise _senseless()

    def _next(self, context: CallContext, worker: WebWorker, journey: Journey) -> Answer:
        """Wait for what the worker says next."""
        answer: Answer | None = None
        while answer is None:
            context.check()
            if journey.is_late:
                raise self._too_slow()
            answer = worker.receive(CHECK_SECONDS)
        match answer:
            case Problem(kind="timed_out"):
                raise CallTimeoutError(answer.message)
            case Problem(kind="denied"):
                raise DeniedError(answer.message, rule_id=f"{HttpRequest.name}:address")
            case Problem():
                raise CallError(answer.message)
        return answer

    def _follow(
        self, context: CallContext, journey: Journey, letter: Letter, answer: Redirected, is_bound: bool
    ) -> Letter:
        """Go to where a redirect points, if that is allowed, and give what is sent there."""
        target = journey.target(answer.location, answer.status)
        leaves = is_elsewhere(target, journey.url)
        if leaves and is_bound:
            raise DeniedError(
                f"the request carries a secret, and the answer redirects to another place, {shown_place(target)}; it was not "
                "repeated there: ask that place itself if it may have the secret, or give it as auth, which stays behind",
                rule_id=f"{HttpRequest.name}:redirect",
            )
        method = journey.url.method
        journey.go_on(target, answer.status, context)
        letter = letter.for_elsewhere() if leaves else letter
        return letter if target.method == method else letter.without_body()

    def _receive(self, context: CallContext, worker: WebWorker, journey: Journey, answer: Begun) -> ToolOutput:
        """Pass the body on: into the file where there is one and the answer says that it worked, else to the kernel."""
        value = {
            "status": answer.status,
            "reason": answer.reason,
            "headers": [list(field) for field in answer.headers],
            "url": url_text(journey.url),
            "redirects": len(journey.hops),
            "history": [
                {"status": hop.status, "method": hop.url.method, "url": url_text(hop.url), "location": hop.location}
                for hop in journey.hops
            ],
            "size_bytes": answer.size_bytes,
        }
        if self._target is not None and 200 <= answer.status < 300:
            value |= self._save(context, worker, journey, self._target)
            delivery = Delivery(context)
        else:
            delivery = Delivery(context)
            value["truncated"] = self._read(context, worker, journey, delivery.add)
        context.check()
        value["returned_bytes"] = delivery.returned_bytes
        value["duration_seconds"] = round(time.monotonic() - journey.started, 6)
        return ToolOutput(value, delivery.bulk())

    def _save(self, context: CallContext, worker: WebWorker, journey: Journey, target: ResolvedPath) -> dict[str, Any]:
        with Replacement(target, create_parents=True, durable=self._writing.durable) as replacement:
            if self._read(context, worker, journey, replacement.write):
                raise CallError(
                    f"the body is over the limit of {self._max_saved_bytes} bytes, so {quoted(target.asked)} was not written",
                    remedy="[tools.write_file] max_bytes in the host's configuration, or max_bytes of the call",
                )
            context.check()
            replacement.keep_image = context.keep_image
            replacement.commit()
            return {"truncated": False, "saved_to": target.canonical, "saved_bytes": replacement.bytes_written}

    def _read(self, context: CallContext, worker: WebWorker, journey: Journey, take: Callable[[bytes], None]) -> bool:
        """Take the body without values of secrets; where it was cut, without the beginning of one either."""
        stream = VeiledStream(_values(context.session))
        while True:
            match self._next(context, worker, journey):
                case Piece(data=data):
                    if kept := stream.feed(data):
                        take(kept)
                case Ended(truncated=truncated):
                    if not truncated and (rest := stream.finish()):
                        take(rest)
                    return truncated
                case _:
                    raise _senseless()

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


def _values(session: Session) -> Values:
    """Give what is known of secrets' values; a session without secrets knows none."""
    values: Values | None = session.resources.get(RESOURCE)
    return Values() if values is None else values


def _senseless() -> CallError:
    return CallError("the host read something else than an answer")

"""The HTTP API: what is asked, answering it, and being told of changes. Documented in docs/approvals.md.

A browser on this machine will send requests for whatever page is open in it. So every request has to carry the token, and name
this server as its host; one that says it comes from another page is refused even with the token.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import json
import logging
from collections.abc import Awaitable
from types import TracebackType
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from host_bridge.control import Answer, Pattern
from host_bridge.errors import QuestionError, QuestionNotFoundError, QuestionSettledError
from host_bridge.inbox.feed import Event, Feed
from host_bridge.inbox.folder import Inbox
from host_bridge.inbox.views import as_data, is_open, user_name

MAX_BODY_BYTES = 64 * 2**10  # an answer is a line; a pattern's rule is at most 4 KiB
MAX_CLIENTS = 32  # that listen for events
MAX_UNSENT_EVENTS = 256
HEARTBEAT_SECONDS = 15.0  # proxies and browsers give up on a silent connection after a minute or so
SEND_SECONDS = 10.0
RETRY_MILLISECONDS = 2000

_log = logging.getLogger(__name__)

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class AnswerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /api/questions/ID/answer` takes.

    Attributes:
        answer: As `control.Answer` tells.
        pattern: With `run`: what a yes to a loop covers.
        covers: Digests of siblings that a yes is for too.
        digest: Of the call the answer is meant for; an answer for another one is refused.
        by: Who answers, for the record.
    """

    answer: Literal["once", "run", "notebook", "always", "no", "stop"]
    pattern: Pattern | None = None
    covers: Annotated[tuple[Digest, ...], Meta(max_length=1000)] = ()
    digest: Digest | Literal[""] = ""
    by: Annotated[str, Meta(max_length=128)] = ""


class Client:
    """Somebody who listens for events."""

    def __init__(self) -> None:
        self.texts: asyncio.Queue[str | None] = asyncio.Queue(MAX_UNSENT_EVENTS)

    def put(self, text: str) -> None:
        """Queue an event; a client that doesn't read is let go."""
        try:
            self.texts.put_nowait(text)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """Let it go."""
        while not self.texts.empty():
            self.texts.get_nowait()
        self.texts.put_nowait(None)


@dataclasses.dataclass(slots=True)
class Api:
    """What the handlers share.

    Attributes:
        token: Whoever has it may answer.
        hosts: What a request may call this server, as its `Host` header.
        clients: Who listens.
    """

    inbox: Inbox
    feed: Feed
    token: str
    hosts: frozenset[str]
    clients: set[Client] = dataclasses.field(default_factory=set)

    def application(self) -> Application:
        """Give it as tornado serves it."""
        routes = [
            ("/api/questions", QuestionsHandler),
            ("/api/questions/([^/]*)", QuestionHandler),
            ("/api/questions/([^/]*)/answer", AnswerHandler),
            ("/api/events", EventsHandler),
            (".*", NothingHandler),
        ]
        # The access log would have the token.
        return Application([(path, kind, {"api": self}) for path, kind in routes], log_function=lambda handler: None)

    def tell(self) -> None:
        """Send whatever has changed to whoever listens."""
        for event in self.feed.look():
            for client in self.clients:
                client.put(_as_text(event))

    def end(self) -> None:
        """Let all go who listen."""
        for client in self.clients:
            client.end()


class ApiError(HTTPError):
    """Ends a request with an error that says what to do."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status)
        self.code = code
        self.message = message


class ApiHandler(RequestHandler):
    """What all requests share: who may ask, and how errors look."""

    def initialize(self, api: Api) -> None:
        """Take what the handlers share."""
        self.api = api

    def set_default_headers(self) -> None:
        """Nothing here is to be kept, guessed at, framed or sent on."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Referrer-Policy", "no-referrer")

    def prepare(self) -> None:
        """Refuse whoever may not ask."""
        host, origin = self.request.headers.get("Host", ""), self.request.headers.get("Origin")
        if host.lower() not in self.api.hosts:
            raise ApiError(403, "host", f"this is not {host!r}: use the address that `approvals serve` printed")
        if origin is not None and origin.lower() not in {f"http://{known}" for known in self.api.hosts}:
            raise ApiError(
                403, "origin", "requests of other pages are refused; open no page from elsewhere on this API"
            )
        if self.request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise ApiError(
                403, "origin", "requests of other pages are refused; open no page from elsewhere on this API"
            )
        if not self._has_token():
            self.set_header("WWW-Authenticate", "Bearer")
            raise ApiError(
                401,
                "token",
                "send the token that `approvals serve` printed: `Authorization: Bearer TOKEN`, or ?token=TOKEN",
            )

    def send(self, value: Any, status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(value, ensure_ascii=True) + "\n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say in JSON what went wrong."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, ApiError):
            code, message = error.code, error.message
        elif status_code == 405:
            code, message = "method", f"{self.request.method} can't be used here; docs/approvals.md lists the requests"
        elif status_code < 500:
            code, message = "invalid", f"the request can't be understood: {self._reason}"
        else:
            code, message = "internal", "a defect of this server, described in its log"
        self.send({"error": {"code": code, "message": message}}, status_code)

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Log defects, without the request's address: that may have the token."""
        if not isinstance(value, HTTPError) and typ is not None and value is not None:
            _log.error("%s failed", type(self).__name__, exc_info=(typ, value, tb))

    def _has_token(self) -> bool:
        kind, _, given = self.request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            queried = self.get_query_arguments("token", strip=False)
            given = queried[0] if len(queried) == 1 else ""
        return hmac.compare_digest(given.strip().encode(), self.api.token.encode())


class NothingHandler(ApiHandler):
    """Everything else."""

    def prepare(self) -> None:
        """Say what there is, to whoever may know."""
        super().prepare()
        raise ApiError(
            404, "not_found", "there is /api/questions, /api/questions/ID, /api/questions/ID/answer and /api/events"
        )


class QuestionsHandler(ApiHandler):
    """`GET /api/questions`, `?all=1` for those that are settled too."""

    def get(self) -> None:
        """Give the questions, the oldest first."""
        everything = self.get_query_argument("all", "0")
        if everything not in ("0", "1"):
            raise ApiError(400, "invalid", "all is 0 or 1")
        inbox = self.api.inbox
        found = [one for one in _caught(inbox.questions) if everything == "1" or is_open(inbox, one)]
        self.send({"questions": [as_data(inbox, one) for one in found]})


class QuestionHandler(ApiHandler):
    """`GET /api/questions/ID`."""

    def get(self, question_id: str) -> None:
        """Give one question."""
        self.send(as_data(self.api.inbox, _caught(lambda: self.api.inbox.get(question_id))))


@stream_request_body
class AnswerHandler(ApiHandler):
    """`POST /api/questions/ID/answer`."""

    def initialize(self, api: Api) -> None:
        """Take what the handlers share."""
        super().initialize(api)
        self._body = bytearray()
        self._size = 0

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body. What is too much is counted and dropped, so that the answer says so."""
        self._size += len(chunk)
        if self._size <= MAX_BODY_BYTES:
            self._body += chunk

    async def post(self, question_id: str) -> None:
        """Answer a question."""
        if self._size > MAX_BODY_BYTES:
            raise ApiError(413, "too_large", f"a body has at most {MAX_BODY_BYTES} bytes; an answer needs a few dozen")
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(415, "media_type", "send JSON: `Content-Type: application/json`")
        try:
            body = msgspec.json.decode(bytes(self._body), type=AnswerBody)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(400, "invalid", f'{error}; an answer is {{"answer": "once"}}') from None
        by = f"{body.by or user_name()} (HTTP)"
        answer = Answer(answer=body.answer, pattern=body.pattern, covers=body.covers, by=by)
        inbox = self.api.inbox
        # In a thread: the folder's lock may be another's for a while.
        work = asyncio.to_thread(inbox.answer, question_id, answer, digest=body.digest)
        question = await _awaited(work)
        self.api.tell()
        self.send(as_data(inbox, question))


class EventsHandler(ApiHandler):
    """`GET /api/events`: server-sent events."""

    client: Client | None = None

    async def get(self) -> None:
        """Send a snapshot, or what came after `Last-Event-ID`, and then what changes, until either side ends it."""
        api = self.api
        if len(api.clients) >= MAX_CLIENTS:
            raise ApiError(503, "busy", f"{MAX_CLIENTS} clients listen already; end one of them")
        api.tell()
        self.client = client = Client()
        api.clients.add(client)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        missed = api.feed.since(self.request.headers.get("Last-Event-ID", ""))
        events = [api.feed.snapshot()] if missed is None else missed
        try:
            await self._send(f"retry: {RETRY_MILLISECONDS}\n\n" + "".join(map(_as_text, events)))
            while (text := await self._next(client)) is not None:
                await self._send(text)
        except (StreamClosedError, TimeoutError):
            # It went away, or doesn't read: whatever is still to be sent would be sent for nobody.
            self.detach().close()
        finally:
            api.clients.discard(client)

    def on_connection_close(self) -> None:
        """Stop when the client has gone."""
        if self.client is not None:
            self.client.end()

    async def _send(self, text: str) -> None:
        self.write(text)
        await asyncio.wait_for(self.flush(), SEND_SECONDS)

    async def _next(self, client: Client) -> str | None:
        try:
            return await asyncio.wait_for(client.texts.get(), HEARTBEAT_SECONDS)
        except TimeoutError:
            return ": heartbeat\n\n"


def _as_text(event: Event) -> str:
    # JSON without line breaks: whatever a question holds, it stays within its event.
    return f"id: {event.id}\nevent: {event.name}\ndata: {json.dumps(event.data, ensure_ascii=True)}\n\n"


def _caught(work: Any) -> Any:
    try:
        return work()
    except QuestionError as error:
        _refuse(error)


async def _awaited(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except QuestionError as error:
        _refuse(error)


def _refuse(error: QuestionError) -> NoReturn:
    status, code = 400, "invalid"
    if isinstance(error, QuestionNotFoundError):
        status, code = 404, "not_found"
    elif isinstance(error, QuestionSettledError):
        status, code = 409, "settled"
    raise ApiError(status, code, str(error)) from error

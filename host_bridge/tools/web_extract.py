"""Reads web pages as Markdown.

    prepare   URLs into their one spelling; what can't be allowed is refused without asking anybody
    run       each URL in a web worker; every redirect comes back here, is decided about, and only then followed

One page that fails doesn't fail the others: its document says why.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from host_bridge.errors import CallError, DeniedError
from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import parse_url, url_text
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.settings import read_settings
from host_bridge.tools.web.jobs import Answer, Fetch, Page, Problem, Redirected
from host_bridge.tools.web.journeys import CHECK_SECONDS, Journey, WebSettings
from host_bridge.tools.web.workers import WebWorker, WebWorkers


class WebExtractSettings(WebSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tools.web_extract]`.

    Attributes:
        max_bytes: How much of one page is read, decompressed.
        max_markdown_bytes: How much of its text is given; five of them must fit into one reply.
    """

    tool: ClassVar[str] = "web_extract"

    max_bytes: Annotated[int, Meta(ge=1, le=2**30)] = 5 * 2**20
    max_markdown_bytes: Annotated[int, Meta(ge=1, le=3 * 2**19)] = 3 * 2**19
    user_agent: Annotated[str, Meta(pattern=r"\A[ -~]{1,200}\Z")] = "Mozilla/5.0 (compatible; hermes-runtime)"


class WebExtract(Tool):
    """Read web pages as Markdown.

    HTML becomes Markdown; text and JSON stay what they are; anything else is an error of its document.
    """

    name = "web_extract"
    summary = "Read up to five web pages as Markdown."
    gives_untrusted = True

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """What a kernel may say."""

        urls: Annotated[tuple[str, ...], Meta(min_length=1, max_length=5)]
        char_limit: Annotated[int, Meta(ge=1)] | None = None

    def quick_prepare(self, arguments: Arguments, session: Session) -> bool:
        """Always: names are not looked up before the call is allowed."""
        return True

    def prepare(self, arguments: Arguments, session: Session) -> Call:
        """Read the URLs."""
        settings = read_settings(session, self.name, WebExtractSettings)
        urls = tuple(parse_url(text) for text in arguments.urls)
        for url in urls:
            settings.places.check(url)
        return Extraction(arguments, urls, settings)


class Extraction(Call):
    """One call."""

    def __init__(
        self, arguments: WebExtract.Arguments, urls: tuple[UrlResource, ...], settings: WebExtractSettings
    ) -> None:
        self._arguments = arguments
        self._settings = settings
        self._urls = urls
        self.resources = urls
        self.shown = {"urls": [url_text(url) for url in urls], "char_limit": arguments.char_limit}

    def run(self, context: CallContext) -> ToolOutput:
        """Read all pages at the same time."""
        documents = [
            _Document(asked, Journey(url, self._settings, context))
            for asked, url in zip(self._arguments.urls, self._urls, strict=True)
        ]
        with WebWorkers.of(context.session).lend(context, self._settings.worker_memory_bytes) as worker:
            jobs: dict[int, _Document] = {}
            for document in documents:
                self._fetch(document, worker, jobs)
            while jobs:
                context.check()
                if answer := worker.receive(CHECK_SECONDS):
                    self._take(jobs.pop(answer.job), answer, context, worker, jobs)
                for job in [job for job, document in jobs.items() if document.journey.is_late]:
                    jobs.pop(job).error = self._too_slow()
        context.check()
        return ToolOutput(
            {"documents": [document.state() for document in documents]},
            {f"markdown_{index}": document.markdown for index, document in enumerate(documents)},
        )

    def _fetch(self, document: _Document, worker: WebWorker, jobs: dict[int, _Document]) -> None:
        url, settings = document.journey.url, self._settings
        if (left := document.journey.seconds_left()) <= 0:
            document.error = self._too_slow()
            return
        job = worker.new_job()
        jobs[job] = document
        worker.send(
            Fetch(
                job=job,
                scheme=url.scheme,
                host=url.host,
                port=url.port,
                path=url.path,
                any_address=settings.places.are_allowed(url),
                max_bytes=settings.max_bytes,
                max_characters=min(
                    self._arguments.char_limit or settings.max_markdown_bytes, settings.max_markdown_bytes
                ),
                user_agent=settings.user_agent,
                timeout_seconds=left,
            )
        )

    def _take(
        self, document: _Document, answer: Answer, context: CallContext, worker: WebWorker, jobs: dict[int, _Document]
    ) -> None:
        match answer:
            case Page():
                document.take(answer, self._settings.max_markdown_bytes)
            case Problem():
                document.error = f"denied: {answer.message}" if answer.kind == "denied" else answer.message
            case Redirected():
                document.error = self._follow(document, answer, context)
                if not document.error:
                    self._fetch(document, worker, jobs)
            case _:
                document.error = "the host read something else than a page"

    def _follow(self, document: _Document, answer: Redirected, context: CallContext) -> str:
        """Go one redirect further, if that is allowed; say why not."""
        try:
            target = document.journey.target(answer.location, answer.status)
            document.journey.go_on(target, answer.status, context)
        except DeniedError as error:
            return f"denied: {error}"
        except CallError as error:
            return str(error)
        return ""

    def _too_slow(self) -> str:
        return f"it was not read within {self._settings.timeout_seconds:g} s, or within the call's time"


@dataclasses.dataclass(slots=True)
class _Document:
    """What becomes of one URL."""

    asked: str
    journey: Journey
    title: str = ""
    content_type: str = ""
    markdown: bytes = b""
    truncated: bool = False
    error: str = ""

    def take(self, page: Page, max_bytes: int) -> None:
        text = page.markdown.encode(errors="replace")
        self.truncated = page.truncated or len(text) > max_bytes
        # Not in the middle of a character.
        self.markdown = text if len(text) <= max_bytes else text[:max_bytes].decode(errors="ignore").encode()
        self.title, self.content_type = page.title, page.content_type

    def state(self) -> dict[str, Any]:
        return {
            "url": self.asked,
            "final_url": url_text(self.journey.url),
            "title": self.title,
            "content_type": self.content_type,
            "truncated": self.truncated,
            "error": self.error,
        }

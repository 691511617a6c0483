"""Searches the web through the provider the host has chosen."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from host_bridge.config.misfits import misfit
from host_bridge.errors import CallError, CallTimeoutError, InvalidCallError, NotConfiguredError
from host_bridge.policy.model import TextResource
from host_bridge.policy.origins import parse_url
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput
from host_bridge.tools.web.jobs import Answer, Found, Problem, Result, Search
from host_bridge.tools.web.workers import WebWorkers

MAX_QUERY_CHARACTERS = 1000
MAX_RESULTS = 50
_TITLE_CHARACTERS, _URL_CHARACTERS, _DESCRIPTION_CHARACTERS = 300, 2000, 1000
_MAX_KEY_BYTES = 4096
_WORKER_MEMORY_BYTES = 1 * 2**30
_LATE_SECONDS = 2.0  # a provider keeps its own time; one that doesn't answer soon after is not waited for
_REPLY_SECONDS = 0.5  # kept back from the call's time, so that the reason arrives
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_SHARED = frozenset({"provider", "timeout_seconds", "api_key", "api_key_env", "api_key_file"})


class WebSearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[tools.web_search]`; whatever else stands there is the provider's.

    Attributes:
        provider: Whom to ask.
        timeout_seconds: How long it may take to answer.
        api_key: The key. Better named than written down:
        api_key_env: The variable of the host application's environment that holds it; who starts a session puts its value
            into `api_key`, as a session process doesn't get the variable.
        api_key_file: The file that holds it.
    """

    provider: str = ""
    timeout_seconds: Annotated[float, Meta(gt=0, le=600)] = 20.0
    api_key: str = ""
    api_key_env: str = ""
    api_key_file: str = ""


class WebSearch(Tool):
    """Search the web.

    Results are plain text: without markup, control characters and whatever else is not read as text.
    """

    name = "web_search"
    summary = "Search the web; gives titles, URLs and descriptions."
    gives_untrusted = True

    class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """What a kernel may say."""

        query: Annotated[str, Meta(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
        limit: Annotated[int, Meta(ge=1, le=MAX_RESULTS)] = 5

    def quick_prepare(self, arguments: Arguments, session: Session) -> bool:
        """Always: it only looks at the query."""
        return True

    def prepare(self, arguments: Arguments, session: Session) -> Call:
        """Read the query."""
        query = " ".join(arguments.query.split())
        if not query or not query.isprintable():
            raise InvalidCallError("the query is empty or has invisible characters; write what to search for")
        return SearchCall(query, arguments.limit)


class SearchCall(Call):
    """One call."""

    def __init__(self, query: str, limit: int) -> None:
        self._query = query
        self._limit = limit
        self.resources = (TextResource(query),)
        self.shown = {"query": query, "limit": limit}

    def run(self, context: CallContext) -> ToolOutput:
        """Ask the provider."""
        table = context.session.settings.get("web_search", {})
        settings = _settings(table)
        left = max(0.1, min(settings.timeout_seconds, context.remaining_seconds() - _REPLY_SECONDS))
        key = _api_key(settings)
        with WebWorkers.of(context.session).lend(context, _WORKER_MEMORY_BYTES) as worker:
            worker.send(
                Search(
                    job=worker.new_job(),
                    provider=settings.provider,
                    settings={name: value for name, value in table.items() if name not in _SHARED},
                    api_key=key,
                    query=self._query,
                    limit=self._limit,
                    timeout_seconds=left,
                )
            )
            answer = worker.receive(left + _LATE_SECONDS)
        context.check()
        return self._output(answer, settings)

    def _output(self, answer: Answer | None, settings: WebSearchSettings) -> ToolOutput:
        match answer:
            case Found():
                results = [result for found in answer.results if (result := _cleaned(found))]
                return ToolOutput({"provider": settings.provider, "results": results[: self._limit]})
            case Problem(kind="not_configured"):
                raise NotConfiguredError(answer.message)
            case Problem(kind="timed_out"):
                raise CallTimeoutError(answer.message)
            case Problem():
                raise CallError(f"web_search failed: {answer.message}")
            case _:
                raise CallTimeoutError(
                    f"the search provider {settings.provider} did not answer within {settings.timeout_seconds:g} s"
                )


def _settings(table: Mapping[str, Any]) -> WebSearchSettings:
    try:
        settings = msgspec.convert(dict(table), type=WebSearchSettings)
    except msgspec.ValidationError as error:
        _, problem = misfit(error, WebSearchSettings, "tools.web_search")
        raise NotConfiguredError(f"[tools.web_search] of the host's configuration can't be used: {problem}") from None
    if not settings.provider:
        raise NotConfiguredError(
            "no search provider is configured: set provider in [tools.web_search] of the host's configuration, to 'ddgs' "
            "(needs no key), 'searxng' (with url) or 'brave' (with api_key_env or api_key_file)",
            remedy='[tools.web_search]\nprovider = "ddgs"',
        )
    return settings


def _api_key(settings: WebSearchSettings) -> str:
    """Find the key; a file is read at each use, so that a new one counts at once."""
    key = settings.api_key.strip()
    if not key and settings.api_key_env:
        key = os.environ.get(settings.api_key_env, "").strip()
        if not key:
            raise NotConfiguredError(
                f"the variable {settings.api_key_env}, named by api_key_env in [tools.web_search], is not set where the "
                "session was started"
            )
    elif not key and settings.api_key_file:
        key = _read_key(settings.api_key_file)
    if not key.isascii() or (key and not key.isprintable()):
        raise NotConfiguredError("the search provider's key is not one line of plain characters")
    return key


def _read_key(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(_MAX_KEY_BYTES).decode("ascii").strip()
    except (OSError, ValueError, RuntimeError):
        raise NotConfiguredError(
            "the file named by api_key_file in [tools.web_search] can't be read; it holds one line, the key"
        ) from None


def _cleaned(result: Result) -> dict[str, str] | None:
    """Give a result as plain text, None if its URL leads nowhere."""
    try:
        parse_url(result.url)
    except InvalidCallError:
        return None
    if len(result.url) > _URL_CHARACTERS:
        return None
    return {
        "title": _plain(result.title, _TITLE_CHARACTERS),
        "url": result.url,
        "description": _plain(result.description, _DESCRIPTION_CHARACTERS),
    }


def _plain(text: str, characters: int) -> str:
    text = html.unescape(_TAG.sub("", text[: 8 * characters]))
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= characters else text[: characters - 1] + "…"

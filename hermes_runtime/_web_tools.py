"""The tools for the web."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hermes_protocol.frames import Frame
from hermes_runtime._arguments import check_seconds, to_plain
from hermes_runtime._blocking import SECONDS, ValueOperation, mapping, tool
from hermes_runtime._calls import Operation
from hermes_runtime._results import Document, Documents, SearchResult, SearchResults, convert


@tool
def web_search(query: str, limit: int = 5, *, timeout: float = SECONDS) -> Operation[SearchResults]:
    """Search the web.

    Args:
        query: What to search for.
        limit: How many results at most.
        timeout: Seconds it may take.

    Raises:
        ToolNotConfiguredError: The host has no search provider; the text says how to configure one.
    """

    def make(result: Any, _bulk: Mapping[str, Frame]) -> SearchResults:
        fields = mapping(result, "web_search")
        items = convert(fields.get("results", []), list[SearchResult], "web_search")
        return SearchResults(items, query=query, provider=str(fields.get("provider", "")))

    return ValueOperation("web_search", {"query": query, "limit": limit}, check_seconds(timeout), make)


@tool
def web_extract(
    urls: str | Sequence[str], char_limit: int | None = None, *, timeout: float = SECONDS
) -> Operation[Documents]:
    """Read web pages as Markdown.

    Args:
        urls: One address, or up to five.
        char_limit: How many characters of each to give at most.
        timeout: Seconds it may take.

    Returns:
        A document for each address, in order. One that could not be read says why in its `.error`.
    """
    wanted = [urls] if isinstance(urls, str) else to_plain(list(urls), "urls")

    def make(result: Any, bulk: Mapping[str, Frame]) -> Documents:
        documents = mapping(result, "web_extract").get("documents", [])
        texts = [{"markdown": str(bulk.get(f"markdown_{n}", b""), "utf-8", "replace")} for n in range(len(documents))]
        filled = [{**text, **mapping(each, "web_extract")} for each, text in zip(documents, texts, strict=True)]
        return Documents(convert(filled, list[Document], "web_extract"))

    return ValueOperation("web_extract", {"urls": wanted, "char_limit": char_limit}, check_seconds(timeout), make)

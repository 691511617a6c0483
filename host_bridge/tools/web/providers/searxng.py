"""An instance of SearXNG, which may be one's own."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from typing import Any

import msgspec

from host_bridge.errors import InvalidCallError
from host_bridge.policy.origins import parse_url
from host_bridge.tools.web.jobs import Result
from host_bridge.tools.web.problems import WebError, WebNotConfiguredError
from host_bridge.tools.web.providers.interface import Provider, get_json, read_results


class Searxng(Provider):
    """The instance must allow the format `json` (`search.formats` in its settings.yml)."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What may be configured; `url` must be."""

        url: str = ""
        language: str = "auto"
        categories: str = "general"

    def search(self, query: str, limit: int, timeout_seconds: float) -> Iterable[Result]:
        """Ask the instance."""
        settings: Any = self.settings
        parameters = {
            "q": query,
            "format": "json",
            "language": settings.language,
            "categories": settings.categories,
        }
        if not settings.url:
            raise WebNotConfiguredError(
                "the search provider 'searxng' needs its address: set url in [tools.web_search]"
            )
        try:
            url = parse_url(f"{settings.url.rstrip('/')}/search?{urllib.parse.urlencode(parameters)}")
        except InvalidCallError as error:
            raise WebNotConfiguredError(f"[tools.web_search] url can't be used: {error}") from None
        answer = get_json("SearXNG", url, {}, timeout_seconds)
        if not isinstance(answer, dict):
            raise WebError("SearXNG gave an answer without results")
        return read_results("SearXNG", answer.get("results"), title="title", url="url", description="content")


PROVIDER = Searxng

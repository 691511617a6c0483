"""The Brave Search API."""

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

_MAX_COUNT = 20  # more is a second page


class Brave(Provider):
    """See https://api.search.brave.com/ for a key and for what the settings mean."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What may be configured."""

        url: str = "https://api.search.brave.com/res/v1/web/search"
        country: str = ""
        safesearch: str = "moderate"

    needs_key = True

    def search(self, query: str, limit: int, timeout_seconds: float) -> Iterable[Result]:
        """Ask the service."""
        settings: Any = self.settings
        parameters = {"q": query, "count": str(min(limit, _MAX_COUNT)), "safesearch": settings.safesearch}
        if settings.country:
            parameters["country"] = settings.country
        try:
            url = parse_url(f"{settings.url}?{urllib.parse.urlencode(parameters)}")
        except InvalidCallError as error:
            raise WebNotConfiguredError(f"[tools.web_search] url can't be used: {error}") from None
        answer = get_json("Brave Search", url, {"X-Subscription-Token": self.api_key}, timeout_seconds)
        web = answer.get("web", {"results": []}) if isinstance(answer, dict) else None
        if not isinstance(web, dict):
            raise WebError("Brave Search gave an answer without results")
        return read_results("Brave Search", web.get("results"), title="title", url="url", description="description")


PROVIDER = Brave

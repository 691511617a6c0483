"""Public search engines without a key, through the `ddgs` library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from host_bridge.tools.web.jobs import Result
from host_bridge.tools.web.problems import WebError, WebTimeoutError
from host_bridge.tools.web.providers.interface import Provider, read_results


class Ddgs(Provider):
    """The settings mean what the library's documentation says of `DDGS.text`."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What may be configured."""

        backend: str = "auto"
        region: str = "us-en"
        safesearch: str = "moderate"
        proxy: str = ""

    def search(self, query: str, limit: int, timeout_seconds: float) -> Iterable[Result]:
        """Ask the engines."""
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException

        settings: Any = self.settings
        client = DDGS(proxy=settings.proxy or None, timeout=max(1, math.floor(timeout_seconds)))
        try:
            entries = client.text(
                query,
                max_results=limit,
                region=settings.region,
                safesearch=settings.safesearch,
                backend=settings.backend,
            )
        except RatelimitException:
            raise WebError("the search engines limit the rate of searches; wait before the next") from None
        except TimeoutException:
            raise WebTimeoutError("the search engines did not answer in time") from None
        except DDGSException as error:
            if "No results found" in str(error):
                return []
            raise WebError(f"the search engines gave no answer ({_brief(error)})") from None
        return read_results("ddgs", entries, title="title", url="href", description="body")


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:199] + "…"


PROVIDER = Ddgs

"""What to implement to add a search provider: a module in this folder that holds a `Provider` subclass named `PROVIDER`.

Its name in `[tools.web_search] provider` is the module's. It runs in a web worker, so it may import what it likes, and is
killed when the call is over.

Example:
    >>> class Wiki(Provider):
    ...     class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ...         language: str = "en"
    ...     def search(self, query, limit, timeout_seconds):
    ...         yield Result(title=query, url=f"https://{self.settings.language}.wikipedia.org/wiki/{query}", description="")
    >>> PROVIDER = Wiki
"""

from __future__ import annotations

import abc
import importlib
import importlib.util
import json
import pkgutil
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from host_bridge.policy.model import UrlResource
from host_bridge.tools.web.fetch import fetch
from host_bridge.tools.web.jobs import Result
from host_bridge.tools.web.problems import WebError, WebNotConfiguredError

_MAX_ANSWER_BYTES: Final = 4 * 2**20
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Provider(abc.ABC):
    """Somebody who can be asked.

    Attributes:
        Settings: What `[tools.web_search]` may hold for it, beside what all providers share.
        needs_key: Whether it can't be asked without an API key.
        settings: What it does hold.
        api_key: The key, empty if none is configured.
    """

    Settings: ClassVar[type[msgspec.Struct]]
    needs_key: ClassVar[bool] = False

    def __init__(self, settings: Any, api_key: str) -> None:
        self.settings = settings
        self.api_key = api_key

    @abc.abstractmethod
    def search(self, query: str, limit: int, timeout_seconds: float) -> Iterable[Result]:
        """Give at most `limit` results, best first, as they came: they are cleaned elsewhere.

        Raises:
            WebError: It could not be asked, or gave no answer that can be read; says why.
        """


def load(name: str, settings: Mapping[str, Any], api_key: str) -> Provider:
    """Give the provider of that name, ready to be asked.

    Raises:
        WebNotConfiguredError: There is none, or it lacks something.
    """
    kind = _find(name)
    try:
        checked = msgspec.convert(settings, type=kind.Settings)
    except msgspec.ValidationError as error:
        from host_bridge.config.misfits import misfit  # only for a mistake

        raise WebNotConfiguredError(
            f"[tools.web_search] of the host's configuration doesn't fit the provider {name!r}: "
            f"{misfit(error, kind.Settings, 'tools.web_search')[1]}"
        ) from None
    if kind.needs_key and not api_key:
        raise WebNotConfiguredError(
            f"the search provider {name!r} needs a key: set api_key_env (the name of an environment variable of the host) or "
            "api_key_file in [tools.web_search] of the host's configuration"
        )
    return kind(checked, api_key)


def get_json(provider: str, url: UrlResource, headers: Mapping[str, str], timeout_seconds: float) -> Any:
    """Ask an HTTP service that answers in JSON. Its address is the administrator's choice, so any will do.

    Raises:
        WebError: It gave no answer that can be read; says why.
    """
    response = fetch(
        url,
        timeout_seconds=timeout_seconds,
        max_bytes=_MAX_ANSWER_BYTES,
        any_address=True,
        headers={"User-Agent": "hermes-runtime", "Accept": "application/json", **headers},
    )
    if response.status == 429:
        raise WebError(f"{provider} limits the rate of searches; wait before the next")
    if response.status in (401, 403):
        raise WebError(
            f"{provider} refuses to answer (HTTP status {response.status}): its key or its settings are wrong"
        )
    if response.status != 200:
        raise WebError(f"{provider} answered with HTTP status {response.status}")
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        raise WebError(f"{provider} gave an answer that isn't JSON") from None


def read_results(provider: str, entries: Any, *, title: str, url: str, description: str) -> Iterable[Result]:
    """Pick results out of a list of maps, given the keys they have there.

    Raises:
        WebError: It is no such list.
    """
    if not isinstance(entries, list):
        raise WebError(f"{provider} gave an answer without a list of results")
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get(url), str):
            yield Result(
                title=str(entry.get(title) or ""), url=entry[url], description=str(entry.get(description) or "")
            )


def _find(name: str) -> type[Provider]:
    module = f"{__package__}.{name}"
    if not _NAME.fullmatch(name) or name == "interface" or importlib.util.find_spec(module) is None:
        raise WebNotConfiguredError(
            f"there is no search provider {name[:100]!r}; [tools.web_search] provider is one of {', '.join(_names())}"
        )
    found: type[Provider] = importlib.import_module(module).PROVIDER
    return found


def _names() -> list[str]:
    folder = str(Path(__file__).parent)
    return sorted(module.name for module in pkgutil.iter_modules([folder]) if module.name != "interface")

"""Speaking to a forge: JSON over HTTP, with a token that goes nowhere else.

No redirect is followed, because the token would go along; over plain HTTP it goes to this machine only. What a forge says in an
error is shown without the token, should it repeat it.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.policy.display import one_line
from host_bridge.repository.forges.interface import ForgeError

_TIMEOUT_SECONDS = 30.0
_MAX_ANSWER_BYTES = 16 * 2**20  # a page of fifty pull requests with long texts
_PAGE = 50  # the most that Gitea gives by default; GitHub and GitLab give 100
_MAX_PAGES = 40
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_HINTS = {
    301: "the repository has another address now: change the remote's",
    302: "the repository has another address now: change the remote's",
    401: "the token is wrong or has expired: give another",
    403: "the token may not do that: it needs to write this repository and its pull requests",
    404: "there is no such thing, or the token may not see it",
    409: "there is one already, or somebody changed it meanwhile: do it again",
    412: "somebody changed it meanwhile: do it again",
    413: "that is more than the forge takes: propose less at once",
    422: "the forge can't do that: are both branches there, and does one have what the other hasn't?",
    423: "the repository is archived: have it unarchived, or work in another",
    429: "those were too many requests: wait a little, and do it again",
    500: "the forge itself failed: do it again later, or ask who runs it",
}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Api:
    """One forge's HTTP interface.

    Args:
        base: Where its paths begin, such as `https://git.example.org/api/v1`.
        headers: What goes with every request, the token's header among them.
        token: The token, to keep it out of what is shown.

    Raises:
        ForgeError: The token would travel readable.
    """

    def __init__(self, base: str, headers: Mapping[str, str], token: str) -> None:
        parts = urllib.parse.urlsplit(base)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise ForgeError(f"{base} isn't https: the token would travel readable; give the forge's https address")
        self._base = base.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "hermes-runtime", **headers}
        self._token = token
        self._opener = urllib.request.build_opener(_NoRedirects())

    def get(self, path: str, **query: str | int) -> Any:
        """Ask for something."""
        return self._send("GET", f"{path}?{urllib.parse.urlencode(query)}" if query else path, None)

    def get_list(self, path: str, **query: str | int) -> list[Any]:
        """Ask for a list."""
        listed = self.get(path, **query)
        if not isinstance(listed, list):
            raise ForgeError("the forge's answer is no list; is its address right, and its kind?")
        return listed

    def walk(self, path: str, *, size: str, **query: str | int) -> Iterator[Any]:
        """Ask for a list page by page, as far as it is wanted.

        The end is a page with nothing on it: a page may be shorter than was asked for only because an instance gives less.

        Args:
            path: Of the list.
            size: What the forge calls a page's size.
            query: Further parameters.
        """
        for page in range(1, _MAX_PAGES + 1):
            listed = self.get_list(path, **query, **{"page": page, size: _PAGE})
            if not listed:
                return
            yield from listed

    def send(self, method: str, path: str, content: Mapping[str, Any]) -> Any:
        """Create or change something."""
        return self._send(method, path, json.dumps(content).encode())

    def _send(self, method: str, path: str, content: bytes | None) -> Any:
        headers = dict(self._headers)
        if content is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self._base + path, data=content, headers=headers, method=method)
        what = f"{method} {self._base}{path.partition('?')[0]}"
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                text = answer.read(_MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(what, error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = self._shown(getattr(error, "reason", None) or error)
            raise ForgeError(f"{what}: no answer ({reason}); try again, nothing is done twice") from None
        if len(text) > _MAX_ANSWER_BYTES:
            raise ForgeError(f"{what}: an answer of more than {_MAX_ANSWER_BYTES} bytes")
        try:
            return json.loads(text)
        except ValueError:
            raise ForgeError(f"{what}: the answer isn't JSON; is that address a forge's?") from None

    def _refusal(self, what: str, error: urllib.error.HTTPError) -> ForgeError:
        try:
            said = json.loads(error.read(_MAX_ANSWER_BYTES))
            reason = str(said.get("message") or said.get("error") or said)
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            reason = str(error.reason)
        hint = _HINTS.get(min(error.code, 500), "")  # what begins with a 5 is the forge's own failure
        told = f"{what}: {error.code} {self._shown(reason)}{hint and f'; {hint}'}"
        return ForgeError(told, status=error.code)

    def _shown(self, text: object) -> str:
        shown = str(text)
        return one_line(shown.replace(self._token, "[token]") if self._token else shown)

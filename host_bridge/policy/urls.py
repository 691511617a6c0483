"""Compares a URL with a rule: `domain:docs.python.org`, `domain:*.python.org`, `url:https://host:8443/path/**`.

`domain:` is about http and https at their own ports. `*.python.org` means the names below `python.org`; a `deny` or `ask` rule
means `python.org` too, and any port and scheme. Methods may stand before it: `host_bridge.policy.methods`.
"""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import unquote

from host_bridge.policy.display import as_written
from host_bridge.policy.methods import LOOKING, split_methods
from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import DEFAULT_PORTS
from host_bridge.policy.patterns import PatternError

# Together they bound how long a comparison takes: a notebook brings patterns of its own.
MAX_WILDCARDS = 2
MAX_MATCHED_CHARACTERS = 2048

_HOST = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\*|\[[0-9a-f:.]+\]")
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[^\]]*\]|[^/:?#@]*)(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?"
)


@dataclasses.dataclass(frozen=True, slots=True)
class UrlPattern:
    """A rule's URLs.

    Attributes:
        host: Lower case; `*.` before it for the names below, `*` for any.
        scheme: Empty for http and https.
        port: 0 for the scheme's own.
        path: What the path must be, None for any.
        methods: What may be asked of it, None where the rule doesn't say.
    """

    host: str
    scheme: str = ""
    port: int = 0
    path: re.Pattern[str] | None = None
    methods: frozenset[str] | None = None

    def allows(self, url: UrlResource) -> bool:
        """Whether an `allow` rule means this URL."""
        if not self._allows_method(url.method):
            return False
        default_port = DEFAULT_PORTS.get(url.scheme)
        if url.scheme != self.scheme if self.scheme else default_port is None:
            return False
        if url.port != (self.port or default_port) or not self._means_host(url.host, generous=False):
            return False
        if self.path is None:
            return True
        if len(url.path) > MAX_MATCHED_CHARACTERS or not _is_plain(url.path):
            return False
        return self.path.fullmatch(url.path) is not None

    def may_mean(self, url: UrlResource) -> bool:
        """Whether a `deny` or `ask` rule applies to this URL."""
        if not self._may_mean_method(url.method):
            return False
        if self.scheme and {self.scheme, url.scheme} - {"http", "https"} and self.scheme != url.scheme:
            return False
        if self.port and url.port != self.port:
            return False
        if not self._means_host(url.host, generous=True):
            return False
        if self.path is None or len(url.path) > MAX_MATCHED_CHARACTERS or not _is_plain(url.path):
            return True
        return self.path.match(unquote(url.path)) is not None

    def _allows_method(self, method: str) -> bool:
        if self.methods is not None:
            return method in self.methods
        return not method or method in LOOKING

    def _may_mean_method(self, method: str) -> bool:
        if self.methods is None or not method or method in self.methods:
            return True
        return method == "HEAD" and "GET" in self.methods

    def _means_host(self, host: str, *, generous: bool) -> bool:
        if self.host == "*":
            return True
        if not self.host.startswith("*."):
            return host == self.host
        return host.endswith(self.host[1:]) or (generous and host == self.host[2:])


def parse_url_pattern(pattern: str) -> UrlPattern:
    """Compile a URL pattern.

    Raises:
        PatternError: It isn't one.
    """
    try:
        methods, place = split_methods(pattern)
    except ValueError as error:
        raise PatternError(str(error)) from None
    if place.startswith("domain:"):
        return UrlPattern(_host(place.removeprefix("domain:"), pattern), methods=methods)
    match = _URL.fullmatch(place.removeprefix("url:")) if place.startswith("url:") else None
    if match is None:
        raise PatternError(
            f"{as_written(pattern)}: write domain:example.org, domain:*.example.org or url:https://example.org/path/**"
        )
    host = _host(match["host"], pattern)
    if match["scheme"] not in DEFAULT_PORTS and not match["port"]:
        raise PatternError(f"{as_written(pattern)}: name the port, since {match['scheme']} has none that is known here")
    return UrlPattern(host, match["scheme"], int(match["port"] or 0), _path(match["path"] or "/", pattern), methods)


def _host(text: str, pattern: str) -> str:
    host = text.lower().removesuffix(".")
    if not _HOST.fullmatch(host):
        raise PatternError(
            f"{as_written(pattern)}: {as_written(text)} is no host name; write it in ASCII (xn--…), with * only as the "
            "first label, alone or before a dot"
        )
    return host.strip("[]")


def _path(text: str, pattern: str) -> re.Pattern[str]:
    if ".." in text.split("/") or "\\" in text:
        raise PatternError(f"{as_written(pattern)}: write the path plainly, without '..' and backslashes")
    parts = re.split(r"(\*\*+|\*)", text)
    if len(parts) // 2 > MAX_WILDCARDS:
        raise PatternError(f"{as_written(pattern)}: more than {MAX_WILDCARDS} wildcards in one path; leave some out")
    regexes = ("[^/?]*" if part == "*" else ".*" if part.startswith("**") else re.escape(part) for part in parts)
    return re.compile("".join(regexes), re.DOTALL)


def _is_plain(path: str) -> bool:
    """Whether every server reads a path alike: no dot segments, hidden slashes or backslashes before the query."""
    plain = unquote(path.partition("?")[0]) if "%" in path else path.partition("?")[0]
    return "\\" not in plain and plain.count("/") == path.partition("?")[0].count("/") and not _DOTS.search(plain)


_DOTS = re.compile(r"(?:^|/)\.{1,2}(?:/|$|;)")

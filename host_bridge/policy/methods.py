"""HTTP methods in rules and calls: `POST,PUT url:https://api.example.org/v1/**`, `POST https://api.example.org/v1/items`.

A method is what a request does to a place, so a rule about places can name some:

    allow, none named      GET and HEAD: looking. Whatever changes something is named, or `*` for all of them
    allow, some named      exactly these
    deny and ask           none named, or `*`: all of them; GET also means HEAD
"""

from __future__ import annotations

import dataclasses
import re

from host_bridge.errors import InvalidCallError
from host_bridge.policy.display import as_written
from host_bridge.policy.model import PathResource, Resource, UrlResource
from host_bridge.policy.origins import parse_url

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
LOOKING = frozenset({"GET", "HEAD"})
"""What an `allow` rule means that names no method."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""What changes nothing, by HTTP's own word (RFC 9110, 9.2.1)."""

METHOD_TOOLS = frozenset({"http_request"})
"""The built-in tools whose calls have one."""

SAVES_AS = "write_file"
"""What their calls do to a file that an answer is saved in, so whose rules are about that."""

_EVERY = "*"
_NAMED = re.compile(r"(?P<methods>\*|[A-Za-z]+(?: ?, ?[A-Za-z]+)*) +(?=domain:|url:)")
_SUBJECT = re.compile(r"(?:(?P<method>[A-Za-z]+) +)?(?P<url>\S.*)", re.DOTALL)


def judged_as(tool: str, resource: Resource | None) -> str:
    """Give the tool whose rules are about a resource of a call: what a request saves is written, and nothing else is."""
    return SAVES_AS if tool in METHOD_TOOLS and type(resource) is PathResource else tool


def split_methods(pattern: str) -> tuple[frozenset[str] | None, str]:
    """Take the methods off a URL pattern.

    Returns:
        The methods, None where none are named; and the rest.

    Raises:
        ValueError: A method that no call has; the text says what to write.
    """
    match = _NAMED.match(pattern)
    if match is None:
        return None, pattern
    rest = pattern[match.end() :]
    if match["methods"] == _EVERY:
        return frozenset(METHODS), rest
    named = re.split(r" ?, ?", match["methods"])
    for method in named:
        if method not in METHODS:
            raise ValueError(
                f"{as_written(pattern)}: there is no method {as_written(method)}; write {', '.join(METHODS)}, or * for all"
            )
    return frozenset(named), rest


def names_methods(pattern: str) -> bool:
    """Whether a pattern is one of URLs with methods before it."""
    return _NAMED.match(pattern) is not None


def with_method(pattern: str, method: str) -> str:
    """Give the pattern of an `allow` rule for requests with a method; where it means that one anyway, as it is."""
    return pattern if not method or method in LOOKING else f"{method} {pattern}"


def parse_request(text: str) -> UrlResource:
    """Read what a request is about: a method and a URL, or a URL alone to get.

    Raises:
        InvalidCallError: It isn't one.
    """
    return request_to(*split_request(text))


def split_request(text: str) -> tuple[str, str]:
    """Take a method and a URL apart; without one, it is GET.

    Raises:
        InvalidCallError: Neither is there.
    """
    match = _SUBJECT.fullmatch(text)
    if match is None:
        raise InvalidCallError("a request is a method and a URL: GET https://api.example.org/v1/items")
    return match["method"] or "GET", match["url"]


def request_to(method: str, url: str) -> UrlResource:
    """Give what a request is about.

    Raises:
        InvalidCallError: No method that there is, or no URL.
    """
    if method.upper() not in METHODS:
        raise InvalidCallError(f"there is no method {method[:40]!a}; use one of {', '.join(METHODS)}")
    return dataclasses.replace(parse_url(url), method=method.upper())


def shown_method(url: UrlResource) -> str:
    """Give what to put before a URL that is shown to people: the method, where there is one."""
    return f"{url.method} " if url.method else ""

"""How a `testing.FakeHost` keeps to what a call is narrowed to: the same rules as a host's, compared more simply.

Paths by their text (a fake has no links), commands word by word as `shlex` splits them, URLs by host. Enough to test that a
notebook stays within its own narrowing; what a real policy means by a rule is in the host's documentation.
"""

from __future__ import annotations

import difflib
import fnmatch
import posixpath
import re
import shlex
import urllib.parse
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from hermes_protocol.errors import ErrorCode
from hermes_protocol.messages import Failure

_RULE = re.compile(r"(\*|[a-z][a-z0-9_]{0,63})(?:\((.+)\))?", re.DOTALL)
_EVERY_TOOL = "*"


def narrowing_problem(levels: Iterable[Sequence[str]], tools: Collection[str]) -> Failure | None:
    """Say why rules can't be meant; None when they can."""
    for rule in (rule for level in levels for rule in level):
        shape = _RULE.fullmatch(rule)
        if shape is None or rule == _EVERY_TOOL:
            return _invalid(f"{rule!r} is no rule: write a tool, or a tool and a pattern, as in read_file(./data/**)")
        if shape[1] != _EVERY_TOOL and shape[1] not in tools:
            near = difflib.get_close_matches(shape[1], list(tools), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return _invalid(f"there is no tool {shape[1]!r}{hint}")
    return None


def narrowing_denial(levels: Iterable[Sequence[str]], tool: str, arguments: Mapping[str, Any]) -> Failure | None:
    """Say why a call is not among what it is narrowed to; None when it is."""
    for level in levels:
        if not any(_allows(rule, tool, arguments) for rule in level):
            narrowed = ", ".join(level) or "nothing"
            return Failure(
                code=ErrorCode.DENIED,
                message=f"{tool} is not among what the cell narrowed itself to ({narrowed})",
                rule_id="narrow:default",
            )
    return None


def _invalid(text: str) -> Failure:
    return Failure(code=ErrorCode.INVALID_REQUEST, message=f"the narrowing can't be meant: {text}")


def _allows(rule: str, tool: str, arguments: Mapping[str, Any]) -> bool:
    shape = _RULE.fullmatch(rule)
    assert shape is not None, "checked before"
    named, pattern = shape[1], shape[2]
    if named == "terminal" and tool == "process":
        return True
    if named not in (tool, _EVERY_TOOL):
        return False
    return pattern is None or _matches(pattern, arguments)


def _matches(pattern: str, arguments: Mapping[str, Any]) -> bool:
    match arguments:
        case {"path": str(path)}:
            return _path_regex(pattern).fullmatch(posixpath.normpath(path)) is not None
        case {"command": str(command)}:
            return _command_matches(pattern, command)
        case {"url": str(url), "method": str(method)}:
            return _request_matches(pattern, method, url)
        case {"urls": [*urls]}:
            return all(_url_matches(pattern, str(url)) for url in urls)
    texts = [value for value in arguments.values() if isinstance(value, str)]
    return any(fnmatch.fnmatchcase(text, pattern) for text in texts)


def _path_regex(pattern: str) -> re.Pattern[str]:
    normal = posixpath.normpath(pattern)
    if normal == "**":
        return re.compile(r"(?!\.\./|/).*", re.DOTALL)
    folder, deep, rest = normal.partition("/**")
    if deep and not rest:  # the folder itself is meant too
        return re.compile(f"{_glob(folder)}(/.*)?", re.DOTALL)
    return re.compile(_glob(normal), re.DOTALL)


def _glob(text: str) -> str:
    return "".join({"**": ".*", "*": "[^/]*"}.get(part) or re.escape(part) for part in re.split(r"(\*\*?)", text))


def _command_matches(pattern: str, command: str) -> bool:
    try:
        wanted, words = shlex.split(pattern), shlex.split(command)
    except ValueError:
        return False
    is_open = len(wanted) > 1 and wanted[-1] == "*"
    wanted = wanted[:-1] if is_open else wanted
    if re.search(r"[;&|<>$`\n]", command) or len(words) < len(wanted) or (len(words) > len(wanted) and not is_open):
        return False
    return all(fnmatch.fnmatchcase(word, want) for word, want in zip(words, wanted, strict=False))


def _request_matches(pattern: str, method: str, url: str) -> bool:
    methods, _, place = pattern.rpartition(" ")
    named = {one.strip() for one in methods.split(",")} if methods else {"GET", "HEAD"}
    return ("*" in named or method.upper() in named) and _url_matches(place, url)


def _url_matches(pattern: str, url: str) -> bool:
    kind, _, text = pattern.partition(":")
    if kind == "domain":
        return fnmatch.fnmatchcase(urllib.parse.urlsplit(url).hostname or "", text)
    return kind == "url" and fnmatch.fnmatchcase(url, text)

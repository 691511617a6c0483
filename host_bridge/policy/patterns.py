"""Reads the text of one rule: `tool` or `tool(pattern)`.

What a pattern means depends on what the tool's calls are about:

    paths      ./data/*.csv, ./**, /var/log/**      `*` within one name, `**` any number of folders
    commands   git status *, head -n #              words; a last `*` is any further arguments, `#` a whole number
    URLs       domain:*.python.org, url:https://host/path/**; of a tool that has methods also POST url:https://host/path/**
    text       *weather*

Everything unclear is refused when the policy is loaded. A pattern is compiled twice over: as narrow as it is written, for
`allow`, and generously (case, spelling, what lies beneath), for `deny` and `ask`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import unicodedata

from host_bridge.policy.display import as_written
from host_bridge.policy.methods import METHOD_TOOLS, names_methods

_RULE = re.compile(r"(?P<tool>\*|[a-z][a-z0-9_]{0,63})(?:\((?P<pattern>.*)\))?", re.DOTALL)
MAX_RULE_CHARACTERS = 8192  # as long as the longest command line that is understood

EVERY_TOOL = "*"

Pieces = list[str | None]
"""Literal text, and None for each wildcard."""

_ANY_FOLDERS: Pieces = [None, None]


class PatternError(ValueError):
    """A rule that can't be meant; the text says what to write instead."""


class Kind(enum.Enum):
    """What a pattern is compared with."""

    PATH = "path"
    COMMAND = "command"
    URL = "URL"
    TEXT = "text"


KINDS_BY_TOOL = {
    "terminal": Kind.COMMAND,
    "read_file": Kind.PATH,
    "write_file": Kind.PATH,
    "patch": Kind.PATH,
    "list_files": Kind.PATH,
    "search_files": Kind.PATH,
    "web_extract": Kind.URL,
    "web_search": Kind.TEXT,
    "http_request": Kind.URL,
}
"""What the built-in tools' calls are about; another tool's patterns say it by how they begin."""


@dataclasses.dataclass(frozen=True, slots=True)
class ParsedRule:
    """A rule's text, taken apart.

    Attributes:
        tool: A tool's name, or `EVERY_TOOL`.
        pattern: What stands in the parentheses, None without any.
        kinds: What the pattern may be compared with.
    """

    tool: str
    pattern: str | None
    kinds: tuple[Kind, ...] = ()


@functools.lru_cache(maxsize=4096)  # a policy's rules, each looked at once per tool; a cell's narrowing, bounded there
def parse_rule(text: str) -> ParsedRule:
    """Take a rule's text apart.

    Raises:
        PatternError: It isn't one.
    """
    if len(text) > MAX_RULE_CHARACTERS:
        raise PatternError(f"a rule of {len(text)} characters is over the limit of {MAX_RULE_CHARACTERS}")
    if not text.isprintable():
        raise PatternError(f"the rule {as_written(text)} has invisible characters; remove them")
    match = _RULE.fullmatch(text)
    if match is None:
        raise PatternError(
            f"{as_written(text)} is no rule; write a tool's name, or a name and a pattern: read_file(./data/**)"
        )
    tool, pattern = match["tool"], match["pattern"]
    if pattern is None:
        return ParsedRule(tool, None)
    if not pattern.strip():
        raise PatternError(f"{as_written(text)}: the pattern is empty; leave out the parentheses to mean every call")
    return ParsedRule(tool, pattern, kinds_of(tool, pattern))


def kinds_of(tool: str, pattern: str) -> tuple[Kind, ...]:
    """Say what a tool's pattern may be compared with.

    Raises:
        PatternError: It names methods, and the tool's calls have none.
    """
    known = KINDS_BY_TOOL.get(tool)
    if known is Kind.URL and tool not in METHOD_TOOLS and names_methods(pattern):
        raise PatternError(f"{as_written(f'{tool}({pattern})')}: calls of {tool} have no method; leave it out")
    if known is not None:
        return (known,)
    if pattern.startswith(("domain:", "url:")) or names_methods(pattern):
        return (Kind.URL,)
    if pattern.startswith(("./", "/")):
        return (Kind.PATH,)
    return (Kind.TEXT, Kind.COMMAND)


def fold(text: str) -> str:
    """Give the spelling under which a deny rule compares: case, Unicode form and invisible characters don't matter."""
    if text.isascii():
        return text.lower()
    plain = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", plain).casefold())


# paths -----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class PathPattern:
    """A path pattern; compared with `./…` for what lies in the workspace, and with the absolute path.

    Attributes:
        narrow: A regular expression without groups, as the pattern is written.
        generous: The same on folded text, and everything beneath what it names.
        literal: The path it names, where it has no wildcard.
        is_absolute: Whether it begins at the root, not at the workspace.
        names: Its parts between slashes, as text and None for each wildcard; two None alone are `**`.
    """

    narrow: str
    generous: str
    literal: str | None
    is_absolute: bool
    names: tuple[tuple[str | None, ...], ...]


def parse_path(pattern: str) -> PathPattern:
    """Compile a path pattern.

    Raises:
        PatternError: It isn't one.
    """
    if pattern.startswith("~"):
        raise PatternError(f"{as_written(pattern)}: write the absolute path instead of ~")
    if pattern == "/":
        return PathPattern("", "(?:/.*)?", "", is_absolute=True, names=())
    absolute = pattern.startswith("/")
    names = _split_path(pattern.removeprefix("/").removeprefix("./") if pattern not in (".", "./") else "")
    if names and not names[-1]:
        raise PatternError(f"{as_written(pattern)}: end it with /** to mean what is in the folder")
    for name in names:
        if name in ("", ".", ".."):
            raise PatternError(
                f"{as_written(pattern)}: paths are compared without empty, '.' and '..' parts; write it plainly"
            )
        if "**" in name and name != "**":
            raise PatternError(f"{as_written(pattern)}: ** stands for whole folders; write it alone between slashes")
    anchor = "" if absolute else r"\."
    pieces = [_pieces(name) for name in names]
    narrow = anchor + _path_regex(pieces)
    generous = anchor + _path_regex([[piece and fold(piece) for piece in parts] for parts in pieces]) + "(?:/.*)?"
    has_wildcard = any(None in parts for parts in pieces)
    literal = None if has_wildcard else "/".join(["" if absolute else ".", *("".join(map(str, p)) for p in pieces)])
    return PathPattern(narrow, generous, literal, absolute, tuple(map(tuple, pieces)))


def _split_path(pattern: str) -> list[str]:
    return pattern.split("/") if pattern else []


def _pieces(name: str) -> Pieces:
    """Split one name into literal text and None for each wildcard (`**` is one)."""
    if name == "**":
        return [None, None]
    pieces: Pieces = []
    literal = ""
    characters = iter(name)
    for character in characters:
        if character == "\\":
            literal += next(characters, "\\")
        elif character == "*":
            pieces += [literal, None] if literal else [None]
            literal = ""
        elif character in "?[]{}":
            raise PatternError(
                f"{as_written(name)}: only * and ** are wildcards; write \\{character} for the character itself"
            )
        else:
            literal += character
    return [*pieces, literal] if literal or not pieces else pieces


def _path_regex(names: list[Pieces]) -> str:
    segments: list[list[Pieces]] = [[]]
    for pieces in names:
        if pieces == _ANY_FOLDERS:
            segments.append([])
        else:
            segments[-1].append(pieces)
    first, *others = segments
    regex = _names_regex(first)
    if not others:
        return regex
    *middle, last = others
    # As early as possible is always right for a part between two `**`, so it need not be tried anywhere else.
    regex += "".join(f"(?>(?:/[^/]+)*?{_names_regex(segment)})" for segment in middle if segment)
    return regex + (f"(?:/[^/]+)*{_names_regex(last)}" if last else "(?:/.*)?")


def _names_regex(names: list[Pieces]) -> str:
    return "".join(f"/{'[^/]+' if pieces == [None] else glob_regex(pieces, '[^/]')}(?![^/])" for pieces in names)


def glob_regex(pieces: Pieces, character: str) -> str:
    """Give a regular expression for literal text with wildcards (None) between, to be matched up to some end.

    It takes time proportional to the text's length whatever the pattern: a notebook brings patterns of its own.
    """
    joined = [
        piece for position, piece in enumerate(pieces) if piece is not None or pieces[position - 1 : position] != [None]
    ]
    regex = ""
    for position, piece in enumerate(joined):
        after_wildcard = position > 0 and joined[position - 1] is None
        if piece is None:
            regex += f"{character}*" if position == len(joined) - 1 else ""
        elif not after_wildcard:
            regex += re.escape(piece)
        elif position == len(joined) - 1:
            regex += f"{character}*{re.escape(piece)}"
        else:
            regex += f"(?>{character}*?{re.escape(piece)})"
    return regex


# text ------------------------------------------------------------------------------------------------------------------


def parse_text(pattern: str, *, generous: bool) -> re.Pattern[str]:
    """Compile a text pattern: `*` is anything, the rest is literal."""
    pieces: Pieces = []
    for part in pattern.split("*"):
        pieces += [fold(part) if generous else part, None]
    return re.compile(glob_regex([piece for piece in pieces[:-1] if piece != ""], "."), re.DOTALL)

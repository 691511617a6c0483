"""Whether everything one rule means is meant by another too: proven from the patterns, or not claimed.

A yes is a proof; a no says only that there is none here. Two rules can mean the same in ways that this doesn't see, and then a
person is shown one line too many, never one too few.

    globs      token by token: a wildcard takes in whatever the narrower pattern has at that place
    paths      name by name, `**` any number of names; what sounds secret is beyond wildcards, so only its own name takes it in
    commands   word by word; a word that could be a hazard is taken in only by the same word
    URLs       methods, scheme, port, host, and the path as a glob
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence

from host_bridge.policy.floor import is_secret
from host_bridge.policy.hazards import is_known
from host_bridge.policy.methods import LOOKING
from host_bridge.policy.origins import DEFAULT_PORTS
from host_bridge.policy.patterns import (
    EVERY_TOOL,
    Kind,
    ParsedRule,
    PathPattern,
    fold,
    parse_path,
    parse_rule,
)
from host_bridge.policy.urls import UrlPattern, parse_url_pattern
from host_bridge.policy.words import CommandPattern, Word, parse_command

MAX_STEPS = 3_000_000
"""Some seconds. A stranger's notebook brings patterns of its own, and whoever reviews it must not wait for ever."""

_PAIR_STEPS = 2  # what two rules cost that have little to compare
_SOME = object()  # in a glob: any text without a separator
_ANY = object()  # any text at all
_FOLDERS = (None, None)


class Effort:
    """How much may be spent on proofs. What can't be proven any more isn't claimed."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._left = steps

    def spend(self, steps: int) -> bool:
        """Take steps; False when there are not that many left, and from then on."""
        self._left = self._left - steps if steps <= self._left else 0
        return self._left > 0


def is_allowed_by(rule: str, wider: str, effort: Effort | None = None) -> bool:
    """Whether an `allow` rule `wider` allows all that an `allow` rule `rule` allows.

    Args:
        rule: The narrower rule.
        wider: The wider one.
        effort: What several comparisons share; None for one by itself.

    Raises:
        PatternError: One of them is no rule.
    """
    one, other = parse_rule(rule), parse_rule(wider)
    if one.tool != other.tool:
        return False
    if other.pattern is None or one.pattern == other.pattern:
        return True
    if one.pattern is None or one.kinds != other.kinds or len(one.kinds) != 1:
        return False
    effort = effort or Effort()
    return effort.spend(_PAIR_STEPS) and _ALLOWS[one.kinds[0]](one.pattern, other.pattern, effort)


def is_caught_by(rule: str, wider: str, effort: Effort | None = None) -> bool:
    """Whether a `deny` or `ask` rule `wider` is about all calls that such a rule `rule` is about.

    Raises:
        PatternError: One of them is no rule.
    """
    one, other = parse_rule(rule), parse_rule(wider)
    if other.tool not in (one.tool, EVERY_TOOL):
        return False
    if other.pattern is None:
        return True
    if one.tool != other.tool or one.pattern is None:
        return False
    if one.pattern == other.pattern:
        return True
    effort = effort or Effort()
    if Kind.PATH not in one.kinds or one.kinds != other.kinds or not effort.spend(_PAIR_STEPS):
        return False
    return _catches_path(one, other, effort)


# Each rule of one side is compared with each of the other.
_path = functools.lru_cache(maxsize=2048)(parse_path)
_command = functools.lru_cache(maxsize=2048)(parse_command)
_url = functools.lru_cache(maxsize=2048)(parse_url_pattern)


# globs -----------------------------------------------------------------------------------------------------------------


def _includes(narrow: Sequence[Hashable], wide: Sequence[Hashable], separators: frozenset[str], effort: Effort) -> bool:
    """Whether every text of one glob is one of another. Both are characters, `_SOME` and `_ANY`."""
    if narrow == wide:
        return True
    if not effort.spend(len(narrow) * len(wide)):
        return False
    # `row[i]` says whether what is left of `narrow` from i on is taken in by what is left of `wide`; filled from the end.
    row = [False] * len(narrow) + [True]
    for token in reversed(wide):
        following, row = row, [False] * (len(narrow) + 1)
        for place in range(len(narrow), -1, -1):
            if token is _ANY or token is _SOME:
                takes = place < len(narrow) and (
                    token is _ANY or (narrow[place] is not _ANY and narrow[place] not in separators)
                )
                row[place] = following[place] or (takes and row[place + 1])
            elif place < len(narrow) and narrow[place] == token:
                row[place] = following[place + 1]
    return row[0]


# paths -----------------------------------------------------------------------------------------------------------------

_Name = tuple[str | None, ...]


def _allows_path(rule: str, wider: str, effort: Effort) -> bool:
    narrow, wide = _path(rule), _path(wider)
    if narrow.literal is not None and narrow.literal == wide.literal:
        return True
    if wide.literal is not None or (narrow.literal is not None and is_secret(narrow.literal)):
        return False
    return _takes_in(narrow, wide, narrow.names, wide.names, effort)


def _catches_path(one: ParsedRule, other: ParsedRule, effort: Effort) -> bool:
    narrow, wide = _path(one.pattern or ""), _path(other.pattern or "")
    return _takes_in(narrow, wide, tuple(map(_folded, narrow.names)), tuple(map(_folded, wide.names)), effort)


def _folded(name: _Name) -> _Name:
    return tuple(piece and fold(piece) for piece in name)


def _takes_in(
    narrow: PathPattern, wide: PathPattern, names: Sequence[_Name], others: Sequence[_Name], effort: Effort
) -> bool:
    if wide.is_absolute != narrow.is_absolute:
        # Where the workspace lies isn't known here; everything there is lies beneath the root.
        return wide.is_absolute and tuple(others) == (_FOLDERS,)
    return _includes_names(tuple(names), tuple(others), effort)


def _includes_names(narrow: tuple[_Name, ...], wide: tuple[_Name, ...], effort: Effort) -> bool:
    """As `_includes`, with names for characters and `**` for a wildcard."""
    if not effort.spend(len(narrow) * len(wide)):
        return False
    row = [False] * len(narrow) + [True]
    for name in reversed(wide):
        following, row = row, [False] * (len(narrow) + 1)
        for place in range(len(narrow), -1, -1):
            if name == _FOLDERS:
                row[place] = following[place] or (place < len(narrow) and row[place + 1])
            elif place < len(narrow) and _includes_name(narrow[place], name, effort):
                row[place] = following[place + 1]
    return row[0]


def _includes_name(narrow: _Name, wide: _Name, effort: Effort) -> bool:
    if narrow == _FOLDERS:
        return False
    return _includes(_tokens(narrow), _tokens(wide), frozenset("/"), effort)  # folding can make one of a look-alike


def _tokens(name: _Name) -> tuple[Hashable, ...]:
    return tuple(token for piece in name for token in ((_SOME,) if piece is None else piece))


# commands --------------------------------------------------------------------------------------------------------------


def _allows_command(rule: str, wider: str, effort: Effort) -> bool:
    narrow, wide = _command(rule), _command(wider)
    if narrow.is_literal:
        return wide.allows([word.literal or "" for word in narrow.words])
    fewest = len(narrow.words)
    if narrow.open_ended and not wide.open_ended:
        return False
    if len(wide.words) > fewest or (len(wide.words) < fewest and not wide.open_ended):
        return False
    if not all(_includes_word(one, other) for one, other in zip(narrow.words, wide.words, strict=False)):
        return False
    return _spells_out_as_much(narrow, wide)


def _spells_out_as_much(narrow: CommandPattern, wide: CommandPattern) -> bool:
    """Whether what the narrower rule spells out could be no hazard, or the wider one spells it out as well."""
    if not is_known(narrow.words[0].literal or ""):
        return True
    spelled_out = {place for place, word in enumerate(narrow.words) if word.literal is not None}
    return spelled_out <= {place for place, word in enumerate(wide.words) if word.literal is not None}


def _includes_word(narrow: Word, wide: Word) -> bool:
    if narrow.literal is not None:
        return wide.is_matched_by(narrow.literal)
    if wide.literal is not None or narrow.narrow is None or wide.narrow is None:
        return False
    if narrow.narrow.pattern == wide.narrow.pattern:
        return True
    return wide.narrow.pattern == _NO_OPTION + ".*" and narrow.narrow.pattern.startswith(_NO_OPTION)


_NO_OPTION = "(?!-)"  # what the pattern of a word begins with that can't be an option: `host_bridge.policy.words`


# URLs ------------------------------------------------------------------------------------------------------------------


def _allows_url(rule: str, wider: str, effort: Effort) -> bool:
    narrow, wide = _url(rule), _url(wider)
    if narrow.methods != wide.methods and not (narrow.methods or LOOKING) <= (wide.methods or LOOKING):
        return False
    if not _includes_place(narrow, wide) or not _includes_host(narrow.host, wide.host):
        return False
    if wide.path is None:
        return True
    return narrow.path is not None and _includes(_path_tokens(rule), _path_tokens(wider), frozenset("/?"), effort)


def _includes_place(narrow: UrlPattern, wide: UrlPattern) -> bool:
    if wide.scheme:
        port = DEFAULT_PORTS.get(wide.scheme)
        return narrow.scheme == wide.scheme and (narrow.port or port) == (wide.port or port)
    if narrow.scheme and narrow.scheme not in DEFAULT_PORTS:
        return False
    return narrow.port in (0, DEFAULT_PORTS.get(narrow.scheme))


def _includes_host(narrow: str, wide: str) -> bool:
    if wide == "*" or narrow == wide:
        return True
    return wide.startswith("*.") and narrow != "*" and narrow.endswith(wide[1:])


def _path_tokens(pattern: str) -> tuple[Hashable, ...]:
    """Split a URL pattern's path as `host_bridge.policy.urls` does: a star alone stays within one part, more reach beyond."""
    rest = pattern.partition("://")[2]
    path = rest[rest.find("/") :] if "/" in rest else "/"
    tokens: list[Hashable] = []
    while path:
        stars = len(path) - len(path.lstrip("*"))
        tokens.append(path[0] if not stars else _SOME if stars == 1 else _ANY)
        path = path[max(stars, 1) :]
    return tuple(tokens)


# text ------------------------------------------------------------------------------------------------------------------


def _allows_text(rule: str, wider: str, effort: Effort) -> bool:
    narrow, wide = (tuple(_ANY if token == "*" else token for token in text) for text in (rule, wider))
    return _includes(narrow, wide, frozenset(), effort)


_ALLOWS = {
    Kind.PATH: _allows_path,
    Kind.COMMAND: _allows_command,
    Kind.URL: _allows_url,
    Kind.TEXT: _allows_text,
}

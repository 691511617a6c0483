"""Compares a command's words with a rule's, argument by argument.

Never by prefix: `git status *` is two words and any further arguments, so `git statusx` and `git status; rm` are something
else. An `allow` rule's wildcards don't reach arguments that would make a harmless command run another program, write
elsewhere or change settings (`host_bridge.policy.hazards`); a rule that spells such an argument out does.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Sequence

from host_bridge.policy.display import as_written
from host_bridge.policy.hazards import Hazards, find_hazards, runs_its_arguments
from host_bridge.policy.patterns import PatternError, Pieces, fold, glob_regex

# Together they bound how long a comparison takes: a notebook brings patterns of its own.
MAX_WILDCARDS = 2
MAX_MATCHED_CHARACTERS = 2048

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_QUOTE_TO_MEAN = frozenset("?[]{}$`;|&<>()")
_SEPARATORS = re.compile(r"[\s;|&<>()=]+")
_EXPANSIONS = re.compile(r"[$`*?\[{~]")


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """One word of a rule.

    Attributes:
        literal: The text it must be, None for a wildcard.
        narrow: What a wildcard may be in an `allow` rule.
        generous: The same in a `deny` or `ask` rule, on folded text.
    """

    literal: str | None
    narrow: re.Pattern[str] | None = None
    generous: re.Pattern[str] | None = None

    def is_matched_by(self, argument: str) -> bool:
        """Whether an argument is what an `allow` rule means by this word."""
        if self.narrow is None:
            return argument == self.literal
        if len(argument) > MAX_MATCHED_CHARACTERS or (".." in argument and ".." in argument.split("/")):
            return False
        return self.narrow.fullmatch(argument) is not None

    def may_mean(self, folded: str) -> bool:
        """Whether a folded argument may be what a `deny` or `ask` rule means by this word."""
        if self.generous is None:
            return self.literal is not None and folded == fold(self.literal)
        return self.generous.fullmatch(folded) is not None


# In an allow rule a wildcard doesn't stand for an option: what is meant as a name could otherwise be one.
_ANY = Word(None, re.compile(r"(?!-).*", re.DOTALL), re.compile(".*", re.DOTALL))
_WHOLE_NUMBER = Word(None, _NUMBER, _NUMBER)


@dataclasses.dataclass(frozen=True, slots=True)
class CommandPattern:
    """A rule's words.

    Attributes:
        words: In order; at least one.
        open_ended: Whether further arguments may follow (a last `*`).
    """

    words: tuple[Word, ...]
    open_ended: bool

    @property
    def is_literal(self) -> bool:
        """Whether it names exactly one command."""
        return not self.open_ended and all(word.literal is not None for word in self.words)

    def allows(self, argv: Sequence[str]) -> bool:
        """Whether an `allow` rule with these words means this command."""
        words = self.words
        if len(argv) < len(words) or (len(argv) > len(words) and not self.open_ended):
            return False
        for word, argument in zip(words, argv, strict=False):
            if not word.is_matched_by(argument):
                return False
        return self.is_literal or self._spells_out(find_hazards(argv))

    def _spells_out(self, hazards: Hazards) -> bool:
        if hazards.whole:
            return False
        words = self.words
        return all(index < len(words) and words[index].literal is not None for index in hazards.indices)

    def may_mean(self, argv: Sequence[str]) -> bool:
        """Whether a `deny` or `ask` rule with these words applies: the same command, with the words in this order and
        anything between and after them, or a program that runs such a command for another."""
        folded = [fold(argument) for argument in argv]
        first, *others = self.words
        if (first.may_mean(folded[0]) or first.may_mean(_base(folded[0]))) and _in_order(others, folded[1:]):
            return True
        return runs_its_arguments(argv) and self.may_occur_in(" ".join(argv[1:]))

    def may_occur_in(self, text: str) -> bool:
        """Whether a line nobody could split may contain such a command.

        A word can only come from the line's own characters or from an expansion, so a line with an expansion may contain
        anything.
        """
        tokens = _tokens_of(text)
        if tokens is None:
            return True
        first, *others = self.words
        for position, token in enumerate(tokens):
            if first.may_mean(token) or first.may_mean(_base(token)):
                return _in_order(
                    others, tokens[position + 1 :]
                )  # from the earliest on, everything that could follow does
        return False


@functools.lru_cache(maxsize=8)  # every deny rule looks at the same line
def _tokens_of(text: str) -> tuple[str, ...] | None:
    """Give the folded words a line may consist of; None when an expansion could make others."""
    if _EXPANSIONS.search(text):
        return None
    return tuple(fold(token) for token in _SEPARATORS.split(re.sub(r"[\\'\"]", "", text)) if token)


def parse_command(pattern: str) -> CommandPattern:
    """Compile a command pattern. Quotes and backslashes make characters literal, as in a shell.

    Raises:
        PatternError: It isn't one.
    """
    tokens = _tokens(pattern)
    open_ended = len(tokens) > 1 and tokens[-1] == [None]
    words = tuple(_word(token) for token in (tokens[:-1] if open_ended else tokens))
    return CommandPattern(words, open_ended)


def check_allowable(pattern: CommandPattern, text: str) -> None:
    """Refuse an `allow` rule that could never match, so that nobody relies on it.

    Raises:
        PatternError: It says what to write.
    """
    first = pattern.words[0].literal
    if first is None:
        raise PatternError(f"{as_written(text)}: name the command; to allow every command line write: terminal")
    if pattern.is_literal:
        return
    spelt_out = itertools.takewhile(lambda literal: literal is not None, (word.literal for word in pattern.words))
    if find_hazards([literal for literal in spelt_out if literal is not None]).whole:
        raise PatternError(
            f"{as_written(text)}: {first} runs what its arguments say, so a wildcard here would allow everything; spell out "
            "the whole command (or, for an interpreter, the script before the wildcard), or write: terminal"
        )


def _tokens(pattern: str) -> list[Pieces]:
    """Split into words, each a list of literal pieces and None for every wildcard."""
    tokens: list[Pieces] = []
    current: Pieces = []  # a quote puts an empty piece in, so that '' is a word and a quoted # no number
    quote = ""
    characters = iter(pattern)
    for character in characters:
        if quote:
            if character == quote:
                quote = ""
            else:
                current.append(character)
        elif character in " \t":
            if current:
                tokens.append(current)
            current = []
        elif character in "'\"":
            quote = character
            current.append("")
        elif character == "\\":
            current += ["", next(characters, "\\")]
        elif character in _QUOTE_TO_MEAN:
            raise PatternError(
                f"{as_written(pattern)}: quote {character} to mean the character; a rule is about one simple command, and only "
                "* and # are wildcards"
            )
        else:
            current.append(None if character == "*" else character)
    if quote:
        raise PatternError(f"{as_written(pattern)}: a {quote} is not closed")
    return [*tokens, current] if current else tokens


def _word(token: Pieces) -> Word:
    if token == [None]:
        return _ANY
    if token == ["#"]:
        return _WHOLE_NUMBER
    if None not in token:
        return Word("".join(piece for piece in token if piece is not None))
    pieces = _joined(token)
    if sum(literal is None for _, literal in pieces) > MAX_WILDCARDS:
        raise PatternError(f"more than {MAX_WILDCARDS} wildcards in one word; leave some out")
    # Two stars in a row reach over slashes, one doesn't.
    narrow = "".join(
        re.escape(text) if literal is not None else "[^/]*" if text == "*" else ".*" for text, literal in pieces
    )
    may_be_option = pieces[0][1] is not None and pieces[0][0].startswith("-")
    generous = glob_regex([None if literal is None else fold(literal) for _, literal in pieces], ".")
    return Word(
        None, re.compile(narrow if may_be_option else f"(?!-){narrow}", re.DOTALL), re.compile(generous, re.DOTALL)
    )


def _joined(token: Pieces) -> list[tuple[str, str | None]]:
    """Give runs of literal text as `(text, text)` and runs of stars as `(stars, None)`."""
    runs = itertools.groupby((piece for piece in token if piece != ""), key=lambda piece: piece is None)
    joined: list[tuple[str, str | None]] = []
    for is_wildcard, run in runs:
        text = "".join("*" if piece is None else piece for piece in run)
        joined.append((text[:2], None) if is_wildcard else (text, text))
    return joined


def _in_order(words: Sequence[Word], folded: Sequence[str]) -> bool:
    remaining = iter(folded)
    return all(any(word.may_mean(argument) for argument in remaining) for word in words)


def _base(folded: str) -> str:
    return folded.rsplit("/", 1)[-1]

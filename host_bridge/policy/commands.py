"""Reads a shell command line: either into exactly the words that execve would get, or not at all.

Understood are plain words and quoted text, in simple commands joined by `;`, `&&`, `||`, `|` and line breaks. Everything a
shell would compute (expansions, globs, braces, `~`, assignments), redirect, comment out or run in the background is not
understood, and only a rule for every call (`terminal`) allows such a line.

Two readers must agree: a regular expression for the subset, which also bounds what hostile input can cost, and a grammar of
the shell (tree-sitter's for bash).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from host_bridge.policy.model import CommandResource

MAX_LINE_BYTES = 8192  # a person approves by reading; four screens is as much as anybody reads
MAX_COMMANDS = 32
MAX_WORDS = 1024

# What bash takes literally outside quotes, wherever it stands; `~` and `^` only where they can't begin anything.
_PLAIN = r"[A-Za-z0-9_@%+=:,./-](?:[A-Za-z0-9_@%+=:,./^-]|(?<=[A-Za-z0-9_^~])~)*"
_SINGLE_QUOTED = r"'[^']*'"
_DOUBLE_QUOTED = r'"[^"\\$`]*"'
_PART = re.compile(f"(?P<plain>{_PLAIN})|(?P<quoted>{_SINGLE_QUOTED}|{_DOUBLE_QUOTED})")
_SEPARATOR = re.compile(r"[ \t]*(?:(?:&&|\|\||\|(?!&))[ \t]*|;[ \t]*(?![;&\n])|\n[ \t\n]*)")
_BLANKS = re.compile(r"[ \t]+")

# A name that can only be a command's: no `=` (an assignment), no `%` in front (a job), no `-`, no word of the shell's syntax.
_COMMAND_NAME = re.compile(r"[A-Za-z0-9_@+:,./][A-Za-z0-9_@%+:,./-]*")
_RESERVED = {
    *("if", "then", "elif", "else", "fi", "time", "for", "in", "until", "while", "do", "done"),
    *("case", "esac", "coproc", "select", "function", "{", "}", "[[", "]]", "!"),
}

_GRAMMAR_NODES = {
    *("program", "list", "pipeline", "command", "command_name"),
    *("word", "string", "string_content", "raw_string", "number", "concatenation"),
}
_GRAMMAR_TOKENS = frozenset(("&&", "||", ";", "|", '"', "'", "\n"))


@dataclasses.dataclass(frozen=True, slots=True)
class ParsedLine:
    """A line that was understood.

    Attributes:
        commands: The argument vector of every simple command, in order.
        is_single: Whether it is one command and nothing else, so that it can be run without a shell.
    """

    commands: tuple[tuple[str, ...], ...]

    @property
    def is_single(self) -> bool:
        """Whether it is one simple command."""
        return len(self.commands) == 1


@functools.lru_cache(maxsize=256)
def parse(text: str) -> ParsedLine | None:
    """Read a line; None when it can't be understood completely."""
    if len(text) > MAX_LINE_BYTES:
        return None
    commands = _split(text)
    if commands is None:
        return None
    data = text.encode()
    if len(data) > MAX_LINE_BYTES or _split_by_grammar(data) != commands:
        return None
    return ParsedLine(tuple(map(tuple, commands)))


def resources(text: str, folder: str) -> tuple[CommandResource, ...]:
    """Give what a policy looks at: one resource per simple command, or one with `argv=None` for a line not understood."""
    line = parse(text)
    if line is None:
        return (CommandResource(None, text, folder),)
    return tuple(CommandResource(argv, text, folder) for argv in line.commands)


def _split(text: str) -> list[list[str]] | None:
    """The first reader: left to right, by regular expressions."""
    text = text.strip(" \t\n").removesuffix(";").rstrip(" \t")
    commands: list[list[str]] = [[]]
    position = words = 0
    while position < len(text):
        word, end = _read_word(text, position)
        if word is None:
            return None
        words += 1
        commands[-1].append(word)
        position = end
        if position == len(text):
            break
        separator = _SEPARATOR.match(text, position)
        if separator is not None:
            commands.append([])
            position = separator.end()
        else:
            blanks = _BLANKS.match(text, position)
            if blanks is None:
                return None
            position = blanks.end()
        if len(commands) > MAX_COMMANDS or words > MAX_WORDS:
            return None
    return commands if all(map(_has_name, commands)) else None


def _read_word(text: str, position: int) -> tuple[str | None, int]:
    """Read one word: plain and quoted parts without a gap."""
    word: str | None = None
    while (part := _PART.match(text, position)) is not None:
        if part["plain"] is not None:
            value = part["plain"]
        else:
            value = part["quoted"][1:-1]
            if not _is_visible(value):
                return None, position
        word = value if word is None else word + value
        position = part.end()
    return word, position


def _is_visible(value: str) -> bool:
    """Whether quoted text has nothing in it that a person can't see; tabs and line breaks are seen."""
    return value.isprintable() or value.replace("\n", "").replace("\t", "").isprintable()


def _has_name(argv: list[str]) -> bool:
    return bool(argv) and _COMMAND_NAME.fullmatch(argv[0]) is not None and argv[0] not in _RESERVED


# the second reader -----------------------------------------------------------------------------------------------------


@functools.cache
def _parser() -> Any:
    # A session that runs no command doesn't pay for loading the grammar.
    import tree_sitter
    import tree_sitter_bash

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def _split_by_grammar(data: bytes) -> list[list[str]] | None:
    root = _parser().parse(data).root_node
    if root.has_error:
        return None
    nodes = [root]
    commands = []
    while nodes:
        node = nodes.pop()
        if node.type not in (_GRAMMAR_NODES if node.is_named else _GRAMMAR_TOKENS):
            return None
        if node.type == "command":
            commands.append(node)
        nodes.extend(node.children)
    commands.sort(key=lambda node: node.start_byte)
    split = [_words_of(command, data) for command in commands]
    return None if None in split else [words for words in split if words is not None]


def _words_of(command: Any, data: bytes) -> list[str] | None:
    words = []
    for child in command.named_children:
        node = child.named_children[0] if child.type == "command_name" and child.named_children else child
        word = _word_of(node, data)
        if word is None:
            return None
        words.append(word)
    return words


def _word_of(node: Any, data: bytes) -> str | None:
    text = data[node.start_byte : node.end_byte].decode()
    match node.type:
        case "word" | "number":
            return text
        case "raw_string" | "string":
            return text[1:-1]
        case "concatenation":
            parts = [_word_of(child, data) for child in node.named_children]
            return None if None in parts else "".join(part for part in parts if part is not None)
        case _:
            return None

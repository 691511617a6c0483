"""Shows text that somebody else wrote, so that it can't forge, hide or reorder what a person reads.

Control characters, direction marks, zero-width and other invisible characters appear as `\\u{202e}`; a long run of one
character, or of blanks, is shown once with its count, so that it can't push anything out of sight.
"""

from __future__ import annotations

import re

MAX_LINE_CHARACTERS = 300  # what a sentence in a traceback or a terminal can carry
_RUN = re.compile(r"(\S)\1{79,}|\s{24,}")  # longer than any rule of dashes that somebody draws, or any indentation
_SHOWN_OF_A_RUN = 8


def escaped(text: str) -> str:
    """Give text with every character visible. Line breaks are escaped too."""
    if text.isprintable() and "\\u{" not in text:
        return text
    return "".join(map(_visible, text.replace("\\u{", "\\\\u{")))


def as_written(text: str) -> str:
    """Give text between quotes so that it means the same when it is pasted into a policy file: as a string of TOML.

    Where it has neither `'` nor anything that can't be seen, a shell takes it too.
    """
    if text.isprintable() and "'" not in text and "\\u{" not in text:
        return f"'{text}'"
    # `escaped` marks what looks like its own sign, so that is spelt here in a way it leaves alone.
    return '"' + "".join(map(_in_toml, text)).replace("\\\\u{", "\\u005cu{") + '"'


def one_line(text: str, limit: int = MAX_LINE_CHARACTERS) -> str:
    """Give text on one line of bounded length; what is left out is counted."""
    shown = escaped(collapsed(text[: 4 * limit]))
    left_out = max(0, len(text) - 4 * limit) + max(0, len(shown) - limit)
    return f"{shown[:limit]}… ({left_out} more characters)" if left_out else shown


def collapsed(text: str) -> str:
    """Give text with long runs replaced by their beginning and their length."""
    return _RUN.sub(_short_run, text)


def _short_run(run: re.Match[str]) -> str:
    text = run[0]
    if run[1] is None:
        return f" ⟨{len(text)} blank characters⟩ "
    return f"{run[1] * _SHOWN_OF_A_RUN}⟨{len(text)} times {run[1]}⟩"


def _visible(character: str) -> str:
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"


def _in_toml(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

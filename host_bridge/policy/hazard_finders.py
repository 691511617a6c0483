"""The commands whose hazardous arguments no list names: each function gives their positions in an argument vector."""

from __future__ import annotations

import re
from collections.abc import Sequence

TAR_SHORT = "xcruAIFCPTgVK"
"""Letters of tar's hazardous options, which it also takes without the dash."""

# ps shows the environment of processes for a BSD-style `e`, and falls back to reading `-eu` that way, so what is harmless
# is listed instead of what isn't.
_PS_HARMLESS = re.compile(
    r"a?u?xw{0,3}|-(?:e|ef|eF|el|elf|eL|eLf|A|f|l|H|L|T|ejH|w{1,3})|-{1,2}?(?:eo|Ao|axo|o)|axo|o"
    r"|--(?:no-headers|no-heading|forest|headers|version|help)|--sort=[a-z0-9%_,+-]+|-[pC]|--(?:pid|ppid|sort)"
)
_PS_VALUE = re.compile(r"(?!.*env)[-+A-Za-z0-9%_,.:=]+", re.IGNORECASE)
_PS_TAKE_A_VALUE = frozenset({"-eo", "-Ao", "-axo", "axo", "-o", "o", "-p", "-C", "--pid", "--ppid", "--sort"})


def ps_hazards(argv: Sequence[str]) -> tuple[int, ...]:
    """All but what is known not to show the environment of processes."""
    hazards = []
    value_is_due = False
    for index, argument in enumerate(argv[1:], start=1):
        if not (_PS_VALUE if value_is_due else _PS_HARMLESS).fullmatch(argument):
            hazards.append(index)
        value_is_due = not value_is_due and argument in _PS_TAKE_A_VALUE
    return tuple(hazards)


_DATE_HARMLESS = re.compile(
    r"\+.*|-[uR]*(?:[Id].*)?|--(?:date|iso-8601|rfc-3339)(?:=.*)?|--(?:utc|universal|help)", re.DOTALL
)


def date_hazards(argv: Sequence[str]) -> tuple[int, ...]:
    """What sets the clock, or reads a file."""
    # `date MMDDhhmm` sets the clock. An operand is harmless as a format or as the value of -d.
    return tuple(
        index
        for index in range(1, len(argv))
        if not _DATE_HARMLESS.fullmatch(argv[index])
        and (argv[index].startswith("-") or argv[index - 1] not in ("-d", "-ud", "--date"))
    )


_GIT_SUBCOMMANDS = (
    "config filter-branch difftool mergetool daemon credential send-email instaweb web--browse help gui gitk citool "
    "cvsserver shell upload-pack receive-pack hook maintenance fast-import"
)
_GIT_RUNS = frozenset(_GIT_SUBCOMMANDS.split())
_GIT_UNTRACKED = frozenset(("-uno", "-unormal"))


def git_hazards(argv: Sequence[str]) -> tuple[int, ...]:
    """What runs programs: some subcommands with all they are given, transport helpers, options by their letters."""
    if not _GIT_RUNS.isdisjoint(argv[1:]):
        return tuple(range(1, len(argv)))
    return tuple(
        index
        for index in range(1, len(argv))
        if argv[index] in ("foreach", "run")
        or re.match(r"[A-Za-z0-9+.-]*::", argv[index])  # a transport helper: ext::sh -c …
        or (re.match(r"-[^-]*[cCoOx]", argv[index]) and argv[index] not in _GIT_UNTRACKED)
    )


def assignments(argv: Sequence[str]) -> tuple[int, ...]:
    """Operands of the form `name=value`."""
    return tuple(index for index in range(1, len(argv)) if "=" in argv[index] and not argv[index].startswith("-"))


def old_style_tar(argv: Sequence[str]) -> tuple[int, ...]:
    """Hazardous letters without the dash: `tar xf …`."""
    letters = argv[1] if len(argv) > 1 and not argv[1].startswith("-") else ""
    return (1,) if any(letter in TAR_SHORT for letter in letters) else ()


def url_files(argv: Sequence[str]) -> tuple[int, ...]:
    """Files to send, and URLs that are not the web's."""
    return tuple(
        index
        for index in range(1, len(argv))
        if re.match(r"@|(?!https?:)[a-z][a-z0-9+.-]*:", argv[index], re.IGNORECASE)
    )


def pager_commands(argv: Sequence[str]) -> tuple[int, ...]:
    """Commands that a pager runs at its start: `+…`."""
    return tuple(index for index in range(1, len(argv)) if argv[index].startswith("+"))


def starting(argv: Sequence[str], prefixes: tuple[str, ...]) -> tuple[int, ...]:
    """Arguments that begin so."""
    return tuple(index for index in range(1, len(argv)) if argv[index].startswith(prefixes))

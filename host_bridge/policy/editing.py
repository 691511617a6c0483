"""Changes policy files as a person would: one rule in or out, comments and layout kept, and never a file that doesn't load.

`add_rules` and `remove_rules` are the edge: they read, edit, check and replace a file in one step, so that two answers given at
the same time both stay. What they do to the text is `edited`, which is pure.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.exceptions
import tomlkit.items

from host_bridge.errors import PolicyError
from host_bridge.locks import LockBusyError, lock
from host_bridge.policy.display import as_written
from host_bridge.policy.expectations import run_tests
from host_bridge.policy.rules import Clause
from host_bridge.policy.sources import VERSION, check_tools, parse_source, read_text

FILE_MODE = 0o600
SHARED_FILE_MODE = 0o644
FOLDER_MODE = 0o700
_EMPTY = f"version = {VERSION}\n"
_MAX_LINE_CHARACTERS = 100  # a longer list gets a line per rule
_INDENT = "  "
_PATIENCE_SECONDS = 5.0  # an edit holds the folder for milliseconds
_LIST_CLAUSES = (Clause.DENY, Clause.ASK, Clause.ALLOW)


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """What an edit does.

    Attributes:
        text: The whole file as it is then.
        changed: Whether that is another text than before.
        moved_from: The lists of the same table that the rule was taken out of.
    """

    text: str
    changed: bool
    moved_from: tuple[Clause, ...] = ()


def add_rule(
    path: str | os.PathLike[str],
    clause: Clause,
    rule: str,
    *,
    principal: str = "",
    after_untrusted: bool = False,
    layer: str = "user",
    known_tools: Collection[str] | None = None,
) -> Edit:
    """Put one rule into a policy file; see `add_rules`.

    Raises:
        PolicyError: The file can't be used, or could not be with that rule: nothing was written.
    """
    return add_rules(
        path,
        clause,
        (rule,),
        principal=principal,
        after_untrusted=after_untrusted,
        layer=layer,
        known_tools=known_tools,
    )


def add_rules(
    path: str | os.PathLike[str],
    clause: Clause,
    rules: Sequence[str],
    *,
    principal: str = "",
    after_untrusted: bool = False,
    layer: str = "user",
    known_tools: Collection[str] | None = None,
) -> Edit:
    """Put rules into a policy file, which is created if there is none.

    A rule stands in one list: allowing what the same table denied or asked about by the same words takes it out there.

    Args:
        path: The file; its mode is kept, a new one is private.
        clause: The list.
        rules: The rules' texts.
        principal: Whom they are for; everybody if empty.
        after_untrusted: Whether they also hold after untrusted content.
        layer: What the file is read as.
        known_tools: If given, rules for other tools are refused.

    Raises:
        PolicyError: The file can't be used, or could not be with these rules: nothing was written.
    """
    with _held(Path(path)) as held:
        edit = edited(held.text, clause, rules, principal=principal, after_untrusted=after_untrusted)
        held.replace(edit, layer, known_tools)
        return edit


def remove_rules(
    path: str | os.PathLike[str],
    clause: Clause,
    rules: Sequence[str],
    *,
    principal: str = "",
    layer: str = "user",
    known_tools: Collection[str] | None = None,
) -> Edit:
    """Take rules out of a policy file.

    Raises:
        PolicyError: One isn't there, or the file can't be used: nothing was written.
    """
    if not os.path.lexists(path):
        raise PolicyError(f"{path}: no such policy file", path=str(path))
    with _held(Path(path)) as held:
        text = held.text
        for rule in rules:
            edit = edited(text, clause, (), removed=(rule,), principal=principal)
            if not edit.changed:
                key = f"agents.{principal}.rules.{clause.value}" if principal else f"rules.{clause.value}"
                problem = f"{path}: {key}: there is no rule {as_written(rule)} in it"
                raise PolicyError(problem, path=str(path), key=key)
            text = edit.text
        edit = Edit(text, text != held.text)
        held.replace(edit, layer, known_tools)
        return edit


def create(path: str | os.PathLike[str], text: str, *, private: bool = True) -> None:
    """Write a policy file where there is none.

    Args:
        path: The file.
        text: What it holds.
        private: Whether only its owner may read it.

    Raises:
        PolicyError: There is one, or it can't be written.
    """
    with _held(Path(path)) as held:
        if held.status is not None:
            raise PolicyError(f"{held.path}: is there already; it was left as it is", path=str(held.path))
        _write(held.path, text, FILE_MODE if private else SHARED_FILE_MODE)


def edited(
    text: str,
    clause: Clause,
    added: Sequence[str],
    *,
    removed: Sequence[str] = (),
    principal: str = "",
    after_untrusted: bool = False,
) -> Edit:
    """Give a policy's text with rules put into a list, or taken out. Pure.

    Raises:
        PolicyError: The text is no TOML, or is laid out so that it can't be edited with certainty.
    """
    where = ("agents", principal, "rules") if principal else ("rules",)
    try:
        expected = tomllib.loads(text)
        document = tomlkit.parse(_with_table(text, where) if added else text)
    except (tomlkit.exceptions.TOMLKitError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyError(f"not valid TOML: {error}") from None
    moved: list[Clause] = []
    try:
        for rule in removed:
            if _has_table(expected, where) and _take_out(_plain_table(expected, where), clause, rule):
                _take_out(_table(document, where), clause, rule)
        for rule in added:
            moved += _put_in(_table(document, where), clause, rule, after_untrusted)
            _put_in(_plain_table(expected, where), clause, rule, after_untrusted)
        result = tomlkit.dumps(document)
        if "\r\n" in text:
            result = re.sub("(?<!\r)\n", "\r\n", result)
        fits = tomllib.loads(result) == expected
    except (tomlkit.exceptions.TOMLKitError, tomllib.TOMLDecodeError, AttributeError, TypeError, KeyError, IndexError):
        fits = False
    if not fits:
        raise PolicyError("it is laid out in a way that can't be edited with certainty; edit it by hand")
    return Edit(result, result != text, tuple(dict.fromkeys(moved)))


# the text --------------------------------------------------------------------------------------------------------------


def _with_table(text: str, where: Sequence[str]) -> str:
    """Give a policy's text with the table there, at the end where it wasn't."""
    if _has_table(tomllib.loads(text), where):
        return text
    names = ".".join(tomlkit.items.SingleKey(name).as_string() for name in where)
    return f"{text.rstrip()}\n\n[{names}]\n"


def _has_table(data: Any, where: Sequence[str]) -> bool:
    for name in where:
        if not isinstance(data, Mapping) or name not in data:
            return False
        data = data[name]
    return True


def _table(document: tomlkit.TOMLDocument, where: Sequence[str]) -> Any:
    table: Any = document
    for name in where:
        table = table[name]
    return table


def _plain_table(data: dict[str, Any], where: Sequence[str]) -> dict[str, Any]:
    for name in where:
        data = data.setdefault(name, {})
    return data


def _put_in(table: Any, clause: Clause, rule: str, after_untrusted: bool) -> list[Clause]:
    """Put a rule into a list of a table, whether that is of tomlkit's or plain."""
    moved = [other for other in _LIST_CLAUSES if other is not clause and _take_out(table, other, rule)]
    entries = table.get(clause.value)
    for entry in entries or ():
        if _names(entry, rule) and (_is_marked(entry) or not after_untrusted):
            return moved
    _take_out(table, clause, rule)  # it stands there without the mark
    if entries is None:
        table[clause.value] = [] if type(table) is dict else tomlkit.array()
        entries = table[clause.value]
    _append(entries, rule, after_untrusted)
    return moved


def _append(entries: Any, rule: str, after_untrusted: bool) -> None:
    if not isinstance(entries, tomlkit.items.Array):
        entries.append({"rule": rule, "allow_after_untrusted": True} if after_untrusted else rule)
        return
    item: Any = tomlkit.string(rule)
    if after_untrusted:
        item = tomlkit.parse(f"entry = {{ rule = {item.as_string()}, allow_after_untrusted = true }}")["entry"]
    text = entries.as_string()
    if "\n" in text:
        entries.add_line(item, indent=_indent_of(text))
    elif len(text) + len(rule) > _MAX_LINE_CHARACTERS and len(entries) > 0:
        # One line has become too long to read, so every rule gets one.
        kept = [copy.copy(entry) for entry in entries]
        entries.clear()
        for entry in (*kept, item):
            entries.add_line(entry, indent=_INDENT)
        entries.add_line(indent="")
    else:
        entries.append(item)


def _indent_of(text: str) -> str:
    """The blanks before the last rule of a list that has a line for each."""
    found = re.findall(r"\n([ \t]*)[\"'{]", text)
    return found[-1] if found else _INDENT


def _take_out(table: Any, clause: Clause, rule: str) -> bool:
    entries = table.get(clause.value)
    if entries is None:
        return False
    taken = False
    for index in reversed(range(len(entries))):
        entry = entries[index]
        if not _names(entry, rule):
            continue
        taken = True
        rules = entry["rule"] if isinstance(entry, Mapping) else entry
        if isinstance(rules, str) or len(rules) == 1:
            del entries[index]
        else:
            del rules[list(rules).index(rule)]
    return taken


def _names(entry: Any, rule: str) -> bool:
    rules = entry.get("rule") if isinstance(entry, Mapping) else entry
    return rule == rules if isinstance(rules, str) else isinstance(rules, Sequence) and rule in rules


def _is_marked(entry: Any) -> bool:
    return isinstance(entry, Mapping) and bool(entry.get("allow_after_untrusted"))


# the file --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Held:
    """A policy file that nobody else edits meanwhile."""

    path: Path
    text: str
    status: os.stat_result | None

    def replace(self, edit: Edit, layer: str, known_tools: Collection[str] | None) -> None:
        """Write an edit in one step, once it is sure that the file loads."""
        try:
            source = parse_source(layer, str(self.path), edit.text)
        except PolicyError:
            if edit.changed:
                parse_source(layer, str(self.path), self.text)  # if it didn't load before, that is what to say
            raise
        check_tools(source.rules, known_tools, str(self.path))
        run_tests(source, known_tools)
        if edit.changed:
            _write(self.path, edit.text, FILE_MODE, self.status)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[_Held]:
    path = path.expanduser().absolute()
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PolicyError(f"{path}: its folder can't be used: {error.strerror}", path=str(path)) from None
    try:
        lock(folder, _PATIENCE_SECONDS)
        if not os.path.lexists(path):
            yield _Held(path, _EMPTY, None)
            return
        text = read_text(str(path))
        try:
            yield _Held(path, text, path.stat(follow_symlinks=False))
        except PolicyError as error:
            if error.path:
                raise
            raise PolicyError(f"{path}: {error}", path=str(path), key=error.key) from None
    except LockBusyError as error:
        who = error.holder or "another program"
        raise PolicyError(f"{path}: {who} keeps its folder locked; try again", path=str(path)) from None
    finally:
        os.close(folder)


def _write(path: Path, text: str, mode: int, status: os.stat_result | None = None) -> None:
    try:
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fchmod(descriptor, mode if status is None else stat.S_IMODE(status.st_mode))
                if status is not None and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, status.st_uid, status.st_gid)
                os.fsync(descriptor)
            Path(beside).replace(path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PolicyError(f"{path}: can't be written: {error.strerror}", path=str(path)) from None

"""Why data doesn't have its declared shape, in plain words.

msgspec checks shapes, and says what is wrong to who knows it: "Expected `str`, got `int` - at `$.path`". What a person reads is
"`path` must be text, not a number". This is the one place that knows its wording; what it doesn't know is passed on.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

MAX_SHOWN_CHARACTERS = 100  # of a value or a name that somebody else chose

_PLACE = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`\Z")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\.\.\.|\d+)\]")

_WORDS = {
    "str": "text",
    "bytes": "bytes",
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number",
    "int | float": "a number",
    "array": "a list",
    "object": "a dict",
    "null": "None",
}
_GIVEN = _WORDS | {"int": "a number", "bool": "a bool"}
_COUNTED = {"str": "character", "bytes": "byte", "array": "item", "object": "entry"}
_BOUNDS = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}


def explain(error: Exception, kind: Any, what: str = "argument") -> str:
    """Say in a clause what of some data doesn't fit.

    Args:
        error: What `msgspec.convert` raised.
        kind: The declared shape.
        what: What its fields are to the reader.

    Returns:
        For instance "`path` must be text, not a number" or "there is no argument `pth`; did you mean `path`?".
    """
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):  # text that no UTF-8 can hold
        return "some text in it isn't Unicode"
    # A name that the sender chose may look like a place; it stands before the last one, and is only shown.
    place = _PLACE.search(text)
    problem = text[: place.start()] if place else text
    steps = [name or index for name, index in _STEP.findall(place["path"])] if place else []
    for pattern, clause in _CLAUSES:
        if found := pattern.fullmatch(problem):
            subject = _subject(steps, is_key=bool(place and place["key"]))
            return clause(found, subject, kind, steps, what)
    return f"{_subject(steps, is_key=False)} doesn't fit: {problem}"


def _subject(steps: list[str], *, is_key: bool) -> str:
    if is_key:
        return f"a key of {_subject(steps, is_key=False)}"
    if steps and steps[-1] == "...":
        return f"a value of {_subject(steps[:-1], is_key=False)}"
    path = "".join(f"[{step}]" if step == "..." or step.isdecimal() else f".{step}" for step in steps)
    return f"`{path.removeprefix('.')}`" if path else "it"


# clauses ---------------------------------------------------------------------------------------------------------------


def _wrong_type(found: re.Match[str], subject: str, _kind: Any, _steps: list[str], _what: str) -> str:
    given = _GIVEN.get(found["given"], found["given"])
    if found["given"] == "float" and "int" in found["wanted"].split(" | "):
        given = "a decimal number"
    return f"{subject} must be {_either(found['wanted'])}, not {given}"


def _wrong_name(found: re.Match[str], subject: str, _kind: Any, steps: list[str], _what: str) -> str:
    return f"{subject if steps else 'a name in it'} must be {_either(found['wanted'])}"


def _out_of_bounds(found: re.Match[str], subject: str, _kind: Any, _steps: list[str], _what: str) -> str:
    return f"{subject} must be {_either(found['wanted'])} {_BOUNDS[found['sign']]} {_number(found['bound'])}"


def _wrong_length(found: re.Match[str], subject: str, _kind: Any, _steps: list[str], _what: str) -> str:
    count, unit = int(found["bound"]), next(filter(None, map(_COUNTED.get, found["wanted"].split(" | "))), "item")
    if (found["sign"], count) == (">=", 1):
        return f"{subject} must not be empty"
    units = unit if count == 1 else unit.removesuffix("y") + ("ies" if unit.endswith("y") else "s")
    least = {">=": "at least ", "<=": "at most "}.get(found["sign"] or "", "")
    given = f", not {found['given']}" if found["given"] else ""
    return f"{subject} must have {least}{count:,} {units}{given}"


def _no_choice(found: re.Match[str], subject: str, kind: Any, steps: list[str], _what: str) -> str:
    choices = get_args(_inner(_kind_at(kind, steps), Literal))
    given = _clipped(found["value"])
    return f"{subject} must be {_or(map(repr, choices))}, not {given}" if choices else f"{subject} can't be {given}"


def _missing(found: re.Match[str], _subject_: str, _kind: Any, steps: list[str], _what: str) -> str:
    return f"{_subject([*steps, found['name']], is_key=False)} is missing"


def _unknown(found: re.Match[str], subject: str, kind: Any, steps: list[str], what: str) -> str:
    known, name = list(_fields(_kind_at(kind, steps))), _clipped(found["name"])
    near = difflib.get_close_matches(name.lower(), known, n=1)
    if near:
        hint = f"; did you mean `{near[0]}`?"
    else:
        hint = f"; there are {', '.join(f'`{name}`' for name in known)}" if known else ""
    where = f" in {subject}" if steps else ""
    return f"there is no {what} `{name}`{where}{hint}"


def _multiple(found: re.Match[str], subject: str, _kind: Any, _steps: list[str], _what: str) -> str:
    return f"{subject} must be a multiple of {_number(found['bound'])}"


def _no_match(found: re.Match[str], subject: str, _kind: Any, _steps: list[str], _what: str) -> str:
    return f"{subject} must match the pattern {found['pattern']}"


_Clause = Callable[[re.Match[str], str, Any, list[str], str], str]
_CLAUSES: tuple[tuple[re.Pattern[str], _Clause], ...] = tuple(
    (re.compile(pattern, re.DOTALL), clause)
    for pattern, clause in (
        (r"Expected `(?P<wanted>[^`]+)`, got `(?P<given>[^`]+)`", _wrong_type),
        (r"Expected `(?P<wanted>[^`]+)`", _wrong_name),  # a key that no field can have
        (r"Expected `(?P<wanted>[^`]+)` (?P<sign>[<>]=?) (?P<bound>\S+)", _out_of_bounds),
        (
            r"Expected `(?P<wanted>[^`]+)` of length (?:(?P<sign>[<>]=) )?(?P<bound>\d+)(?:, got (?P<given>\d+))?",
            _wrong_length,
        ),
        (r"Expected `[^`]+` that's a multiple of (?P<bound>\S+)", _multiple),
        (r"Expected `[^`]+` matching regex (?P<pattern>.+)", _no_match),
        (r"Invalid enum value (?P<value>.+)", _no_choice),
        (r"Object missing required field `(?P<name>.+)`", _missing),
        (r"Object contains unknown field `(?P<name>.*)`", _unknown),
    )
)


# words -----------------------------------------------------------------------------------------------------------------


def _either(kinds: str) -> str:
    if kinds in _WORDS:
        return _WORDS[kinds]
    return _or(_WORDS.get(kind, kind) for kind in kinds.split(" | "))


def _or(choices: Iterable[str]) -> str:
    *most, last = choices
    return f"{', '.join(most)} or {last}" if most else last


def _number(text: str) -> str:
    value = float(text) if "." in text or "e" in text else int(text)
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


# shapes ----------------------------------------------------------------------------------------------------------------


def _fields(kind: Any) -> dict[str, Any]:
    """Give the fields of a struct and their types; nothing for what is none."""
    struct = _inner(kind, msgspec.Struct)
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)} if struct else {}


def _kind_at(kind: Any, steps: list[str]) -> Any:
    """Give the declared type at a place; None where nothing is declared, or it can't be said."""
    for step in steps:
        if step == "...":
            kind = next(iter(get_args(_inner(kind, dict))[1:]), None)
        elif step.isdecimal():
            items = next((get_args(found) for found in (_inner(kind, list), _inner(kind, tuple)) if found), ())
            kind = next((item for item in items if item is not ...), None)
        else:
            kind = _fields(kind).get(step)
    return kind


def _inner(kind: Any, wanted: Any) -> Any:
    """Find a `wanted` in an annotation: below what it is annotated with, or among the members of a union."""
    if get_origin(kind) is Annotated:
        return _inner(get_args(kind)[0], wanted)
    if get_origin(kind) in (Union, types.UnionType):
        return next(filter(None, (_inner(member, wanted) for member in get_args(kind))), None)
    if get_origin(kind) is wanted or (isinstance(kind, type) and isinstance(wanted, type) and issubclass(kind, wanted)):
        return kind
    return None

"""Secrets by handle: a notebook says which one is meant and where, and never has the value.

    token = hermes.secret("GITEA_TOKEN")
    hermes.terminal("git push origin main", secrets=[token])
    hermes.call("deploy", headers={"Authorization": "token " + token})

The host puts the value in, if its configuration names the secret for that call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Never, NoReturn, final

from hermes_protocol.frames import MAX_DEPTH
from hermes_protocol.messages import SecretMark, secret_text
from hermes_runtime._errors import InvalidToolRequestError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_PLAIN = frozenset({str, int, float, bool, type(None), bytes, bytearray, memoryview})

Marks = tuple[SecretMark, ...]


class _Hidden:
    """What handles and texts with handles share: they can be passed on, put together and compared, and not be read."""

    __slots__ = ()

    def parts(self) -> tuple[str | SecretHandle, ...]:
        """What it is made of."""
        raise NotImplementedError

    def __add__(self, other: object) -> SecretText:
        return SecretText(_parts(self) + _parts(other)) if isinstance(other, _Hidden | str) else NotImplemented

    def __radd__(self, other: object) -> SecretText:
        return SecretText(_parts(other) + _parts(self)) if isinstance(other, _Hidden | str) else NotImplemented

    def __format__(self, spec: str) -> NoReturn:
        raise TypeError(
            "a secret can't stand in an f-string or in format(), whose result is text: the notebook doesn't have the value; "
            "write 'token ' + hermes.secret('NAME') and pass that on"
        )

    def __iter__(self) -> Never:
        raise TypeError("a secret can't be taken apart: the notebook doesn't have the value")


@final
class SecretHandle(_Hidden):
    """A secret's handle. Equal to every other handle of that name; pickles; shows the name and nothing else."""

    __slots__ = ("name",)

    name: str

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidToolRequestError(
                f"{name!r:.100} can't be a secret's name: those are like GITEA_TOKEN; hermes.status().secrets lists them"
            )
        object.__setattr__(self, "name", name)

    def parts(self) -> tuple[str | SecretHandle, ...]:
        """The handle itself."""
        return (self,)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret's handle can't be changed: make another with hermes.secret(…)")

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, SecretHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash((SecretHandle, self.name))

    def __reduce__(self) -> tuple[type[SecretHandle], tuple[str]]:
        return SecretHandle, (self.name,)

    def __repr__(self) -> str:
        return f"hermes.secret({self.name!r})"

    def __str__(self) -> str:
        return secret_text(self.name)


@final
class SecretText(_Hidden):
    """Text with secrets in it, made by `+`. What it shows has their names."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Iterable[str | SecretHandle]) -> None:
        self._parts = tuple(parts)

    def parts(self) -> tuple[str | SecretHandle, ...]:
        """Texts and handles, in order."""
        return self._parts

    def __eq__(self, other: object) -> bool:
        return self._parts == other._parts if isinstance(other, SecretText) else NotImplemented

    def __hash__(self) -> int:
        return hash((SecretText, self._parts))

    def __reduce__(self) -> tuple[type[SecretText], tuple[tuple[str | SecretHandle, ...]]]:
        return SecretText, (self._parts,)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self._parts))

    def __str__(self) -> str:
        return "".join(map(str, self._parts))


def secret(name: str) -> SecretHandle:
    """Give the handle of a secret of the host's, to be passed to tools that may have it.

    The notebook never has the value: not in a variable, an output or an error. Whether there is such a secret, and whether it
    may go where it is passed, is decided at the call.

    Args:
        name: As the host's configuration names it; `hermes.status().secrets` lists the names.

    Example:
        >>> terminal("git push origin main", secrets=[secret("GITEA_TOKEN")])
    """
    return SecretHandle(name)


def is_hidden(value: object) -> bool:
    """Whether a value is a handle, or text with handles."""
    return isinstance(value, _Hidden)


def take_handles(arguments: Mapping[str, Any]) -> tuple[Mapping[str, Any], Marks]:
    """Give arguments with the names of secrets where handles were, and the marks that say so."""
    if all(type(value) in _PLAIN for value in arguments.values()):
        return arguments, ()
    marks: list[SecretMark] = []
    taken = {name: _take(value, (name,), marks) for name, value in arguments.items()}
    return (taken, tuple(marks)) if marks else (arguments, ())


def _take(value: Any, way: tuple[str | int, ...], marks: list[SecretMark]) -> Any:
    if isinstance(value, _Hidden):
        return _written(value, way, marks)
    if len(way) > MAX_DEPTH:  # deeper, or without end, it can't be sent, which is told with the rest of what can't
        return value
    if isinstance(value, Mapping):
        return {key: _take(item, (*way, key), marks) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_take(item, (*way, index), marks) for index, item in enumerate(value)]
    return value


def _written(value: _Hidden, way: tuple[str | int, ...], marks: list[SecretMark]) -> str:
    text = ""
    for part in value.parts():
        if isinstance(part, SecretHandle):
            marks.append(SecretMark(name=part.name, argument=way, offset=len(text)))
        text += str(part)
    return text


def command_secrets(secrets: Mapping[str, SecretHandle] | Iterable[SecretHandle]) -> dict[str, SecretHandle]:
    """Give the variables of a command by name: a handle without one gets its own name.

    Raises:
        InvalidToolRequestError: Something else than a handle.
    """
    if isinstance(secrets, SecretHandle):
        secrets = (secrets,)
    named = dict(secrets) if isinstance(secrets, Mapping) else {getattr(each, "name", ""): each for each in secrets}
    for variable, handle in named.items():
        if not isinstance(handle, SecretHandle) or not isinstance(variable, str):
            raise InvalidToolRequestError(
                "secrets takes handles: a list of hermes.secret(…), or a dict of them by the name of the variable"
            )
    return named


def _parts(value: _Hidden | str) -> tuple[str | SecretHandle, ...]:
    if isinstance(value, _Hidden):
        return value.parts()
    return (str.__str__(value),) if value else ()

"""How results look: a record, a list of them, and the pieces of HTML they are shown with.

Everything a tool returns was written by somebody else, so every HTML form escapes it and links to web addresses only.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

import msgspec

from hermes_runtime._errors import suggestion

T = TypeVar("T")

MAX_SHOWN_ROWS = 20
MAX_SHOWN_CHARACTERS = 200


class Record(msgspec.Struct, frozen=True):
    """One thing a tool told about."""

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(bytes,))
        return plain

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={short_repr(value)}" for name, value in msgspec.structs.asdict(self).items())
        return f"{type(self).__name__}({fields})"

    def _repr_html_(self) -> str:
        return html_table(("", ""), [(name, value) for name, value in msgspec.structs.asdict(self).items()])


class Listing(Sequence[T], Generic[T]):
    """An unchanging list of results, with what is known about the whole.

    Attributes:
        truncated: Whether there was more than was asked for.
    """

    _columns: tuple[str, ...] = ()

    def __init__(self, items: Iterable[T], *, truncated: bool = False) -> None:
        self._items = tuple(items)
        self.truncated = truncated

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self._items[index] if isinstance(index, int) else list(self._items[index])

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Listing):
            return type(other) is type(self) and other.__dict__ == self.__dict__
        return list(self._items) == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none

    def as_dicts(self) -> list[Any]:
        """Give the items as plain data, ready for `pandas.DataFrame` or JSON."""
        return [msgspec.to_builtins(item, builtin_types=(bytes,)) for item in self._items]

    def _heading(self) -> str:
        more = ", and there is more" if self.truncated else ""
        return f"{type(self).__name__}: {len(self)}{more}"

    def _row(self, item: Any) -> tuple[Any, ...]:
        return tuple(getattr(item, column) for column in self._columns) if self._columns else (item,)

    def __repr__(self) -> str:
        lines = [f"<{self._heading()}>"]
        lines += ["  " + "  ".join(_short(value, 80) for value in self._row(item)) for item in self[:MAX_SHOWN_ROWS]]
        if len(self) > MAX_SHOWN_ROWS:
            lines.append(f"  … and {len(self) - MAX_SHOWN_ROWS} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        table = html_table(self._columns, [self._row(item) for item in self[:MAX_SHOWN_ROWS]])
        rest = f"<div>… and {len(self) - MAX_SHOWN_ROWS} more</div>" if len(self) > MAX_SHOWN_ROWS else ""
        return f"<div><b>{html.escape(self._heading())}</b></div>{table}{rest}"


class Named(Protocol):
    """Something that is called something."""

    @property
    def name(self) -> str:
        """What it is called; no two of a list are called the same."""


N = TypeVar("N", bound=Named)


class NamedListing(Listing[N], Generic[N]):
    """A list of things with names, which find them as well as their positions do."""

    @overload
    def __getitem__(self, index: int | str) -> N: ...
    @overload
    def __getitem__(self, index: slice) -> list[N]: ...
    def __getitem__(self, index: int | str | slice) -> N | list[N]:
        if not isinstance(index, str):
            return super().__getitem__(index)
        for item in self._items:
            if item.name == index:
                return item
        names = self._ipython_key_completions_()
        hint = suggestion(index[:MAX_SHOWN_CHARACTERS], names) or f"; there are {', '.join(names)}"
        raise KeyError(f"there is no {short_repr(index)}{hint}")

    def __contains__(self, item: object) -> bool:
        return any(item in (each, each.name) for each in self._items)

    def _ipython_key_completions_(self) -> list[str]:
        return [item.name for item in self._items]


def html_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Give an HTML table with every cell escaped."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_short(value))}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if any(columns) else ''}<tbody>{body}</tbody></table>"


def html_link(url: str, text: str) -> str:
    """Give a link if the address is one of the web, plain text otherwise: `javascript:` must not become clickable."""
    shown = html.escape(_short(text or url))
    if not url.lower().startswith(("http://", "https://")):
        return shown
    return f'<a href="{html.escape(url, quote=True)}" target="_blank" rel="noopener noreferrer">{shown}</a>'


def html_details(summary: str, text: str) -> str:
    """Give escaped text that is folded away under a summary."""
    return f"<details><summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre></details>"


def _short(value: Any, most: int = MAX_SHOWN_CHARACTERS) -> str:
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return " ".join(text.split()) if "\n" in text or "\r" in text else text


def short_repr(value: Any) -> str:
    """Give a repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[: MAX_SHOWN_CHARACTERS - 1]}…"

"""How results look: a record, and a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

import msgspec

from hermes_runtime._errors import suggestion
from hermes_runtime._markup import MAX_SHOWN_CHARACTERS, block, cut, escaped, table, visible

T = TypeVar("T")

MAX_SHOWN_ROWS = 20
_MAX_COLUMN_CHARACTERS = 80


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
        return table(("", ""), [(name, value) for name, value in msgspec.structs.asdict(self).items()])


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
        lines = [f"<{visible(self._heading())}>"]
        lines += [
            "  " + "  ".join(cut(str(value), _MAX_COLUMN_CHARACTERS) for value in self._row(item))
            for item in self[:MAX_SHOWN_ROWS]
        ]
        if len(self) > MAX_SHOWN_ROWS:
            lines.append(f"  … and {len(self) - MAX_SHOWN_ROWS} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [self._row(item) for item in self[:MAX_SHOWN_ROWS]]
        rest = f"<div>… and {len(self) - MAX_SHOWN_ROWS} more</div>" if len(self) > MAX_SHOWN_ROWS else ""
        return f"{block(f'<b>{escaped(self._heading())}</b>')}{table(self._columns, rows) if rows else ''}{rest}"


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


def short_repr(value: Any) -> str:
    """Give a repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[: MAX_SHOWN_CHARACTERS - 1]}…"

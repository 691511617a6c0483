"""What the tools give back: values for programs, compact to look at, and safe to show.

Plain data is one attribute away, `as_dict()` and `as_dicts()` give it whole, and everything pickles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from hermes_runtime._errors import ToolFailedError
from hermes_runtime._listing import MAX_SHOWN_ROWS, Listing, NamedListing, Record, short_repr
from hermes_runtime._markup import block, cut, details, escaped, link

T = TypeVar("T")


# web -------------------------------------------------------------------------------------------------------------------


class SearchResult(Record, frozen=True):
    """One page a search engine named."""

    title: str = ""
    url: str = ""
    description: str = ""

    def _repr_html_(self) -> str:
        return block(f"{_titled(self.title, self.url)}<br>{escaped(self.description)}")


class SearchResults(Listing[SearchResult]):
    """What a search engine answered, in its order.

    Attributes:
        query: What was asked.
        provider: Who answered.
    """

    _columns = ("title", "url", "description")

    def __init__(self, items: Iterable[SearchResult], *, query: str = "", provider: str = "") -> None:
        super().__init__(items)
        self.query = query
        self.provider = provider

    def _heading(self) -> str:
        return f"{len(self)} results for {short_repr(self.query)}" + (f" from {self.provider}" if self.provider else "")

    def _repr_html_(self) -> str:
        return f"{block(f'<b>{escaped(self._heading())}</b>')}{_listed(self[:MAX_SHOWN_ROWS])}"


class Document(Record, frozen=True):
    """A web page as Markdown.

    Attributes:
        url: As asked; `final_url` is where redirects led.
        truncated: Whether the text was cut.
        error: Why there is no text, empty when there is.
    """

    url: str = ""
    final_url: str = ""
    title: str = ""
    content_type: str = ""
    truncated: bool = False
    error: str = ""
    markdown: str = ""

    @property
    def ok(self) -> bool:
        """Whether it could be read."""
        return not self.error

    def __str__(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        head = block(_titled(self.title, self.final_url or self.url))
        if self.error:
            return head + block(escaped(self.error))
        rest = ", and there is more" if self.truncated else ""
        return head + details(f"{len(self.markdown):,} characters of Markdown{rest}", self.markdown)


class Documents(Listing[Document]):
    """Web pages, in the order they were asked for. A page that could not be read is in it, with its `error`."""

    _columns = ("title", "url", "error")

    def _repr_html_(self) -> str:
        return _listed(self[:MAX_SHOWN_ROWS])


def _titled(title: str, url: str) -> str:
    """Give a page's title and its address: a title is its author's word, and may name another place."""
    address = f"<br>{escaped(cut(url))}" if title else ""
    return f"<b>{link(url, title)}</b>{address}"


def _listed(items: Iterable[SearchResult | Document]) -> str:
    listed = "".join(f"<li>{item._repr_html_()}</li>" for item in items)
    return f"<ol>{listed}</ol>" if listed else ""


# files -----------------------------------------------------------------------------------------------------------------


class WriteResult(Record, frozen=True):
    """What `write_file` did."""

    path: str = ""
    bytes_written: int = 0
    created: bool = False


class PatchedFile(Record, frozen=True):
    """What `patch` did to one file. `action` is `update`, `add`, `delete` or `move`."""

    path: str = ""
    action: str = "update"
    added_lines: int = 0
    removed_lines: int = 0
    replacements: int = 0


class PatchResult(Listing[PatchedFile]):
    """What `patch` did.

    Attributes:
        diff: The change as a unified diff.
    """

    _columns = ("action", "path", "added_lines", "removed_lines")

    def __init__(self, items: Iterable[PatchedFile], *, diff: str = "") -> None:
        super().__init__(items)
        self.diff = diff

    def _repr_html_(self) -> str:
        return super()._repr_html_() + details("diff", self.diff)


class FileEntry(Record, frozen=True):
    """One entry of a folder. `type` is `file`, `folder`, `link` or `other`; `modified` is Unix time."""

    path: str
    type: str = "file"
    size_bytes: int = 0
    modified: float = 0.0

    def __fspath__(self) -> str:
        return self.path


class FileList(Listing[FileEntry]):
    """Entries of a folder."""

    _columns = ("type", "size_bytes", "path")


class Match(Record, frozen=True):
    """One line that matched. `line` counts from 1; `before` and `after` are the lines around it."""

    path: str = ""
    line: int = 0
    text: str = ""
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class FileSearch(Listing[Any]):
    """What `search_files` found. Iterating gives what was asked for: matches, or paths, or `(path, count)` pairs.

    Attributes:
        matches: Lines that matched (`output_mode="content"`).
        files: Paths (`target="files"` or `output_mode="files_only"`).
        counts: Matches by path (`output_mode="count"`).
        total: How many there are altogether, as far as was counted.
    """

    def __init__(
        self,
        *,
        matches: Sequence[Match] = (),
        files: Sequence[str] = (),
        counts: Mapping[str, int] | None = None,
        total: int = 0,
        truncated: bool = False,
    ) -> None:
        self.matches = tuple(matches)
        self.files = tuple(files)
        self.counts = dict(counts or {})
        self.total = total
        super().__init__(self.matches or self.files or self.counts.items(), truncated=truncated)

    def _heading(self) -> str:
        return f"{len(self)} of {self.total} found" if self.truncated else f"{len(self)} found"

    def _row(self, item: Any) -> tuple[Any, ...]:
        if isinstance(item, Match):
            return (f"{item.path}:{item.line}", item.text)
        return item if isinstance(item, tuple) else (item,)


# the session -----------------------------------------------------------------------------------------------------------


class ToolInfo(Record, frozen=True):
    """A tool the host has. Being listed doesn't mean being allowed."""

    name: str
    signature: str = "()"
    summary: str = ""


class ToolList(NamedListing[ToolInfo]):
    """The tools the host has, by position or by name: `hermes.tools()["terminal"]`."""

    _columns = ("name", "signature", "summary")


class BudgetItem(Record, frozen=True):
    """One thing that is counted; `limit` and `left` are None where it isn't limited."""

    name: str
    used: float = 0.0
    limit: float | None = None

    @property
    def left(self) -> float | None:
        """How much may still be used."""
        return None if self.limit is None else max(0.0, self.limit - self.used)


class Budget(NamedListing[BudgetItem]):
    """What the session has used, and what it may use; by position or by name: `hermes.budget()["calls"]`."""

    _columns = ("name", "used", "limit", "left")

    def _heading(self) -> str:
        limited = [item for item in self if item.left is not None]
        gone = [item.name for item in limited if not item.left]
        if gone:
            return f"Budget: {', '.join(gone)} used up"
        return f"Budget: {len(limited)} limited" if limited else "Budget: nothing is limited"

    def _row(self, item: BudgetItem) -> tuple[str, ...]:
        return (item.name, *(_amount(item.name, value) for value in (item.used, item.limit, item.left)))

    def left(self, name: str) -> float | None:
        """Give what is left of one budget, None where it isn't limited."""
        return next((item.left for item in self if item.name == name), None)


def _amount(name: str, value: float | None) -> str:
    """Spell how much of something, as a person reads it."""
    if value is None:
        return "-"
    if name.endswith("seconds"):
        return f"{value:,.1f} s"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)) if name.startswith("bytes") else ():
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,g}"


class Status(Record, frozen=True):
    """What this session is: for whom, under which policy, where, and how busy.

    Attributes:
        narrowed_to: What calls made here have to pass besides, by the cell's tags and by `hermes.narrow`: lists of rules.
        untrusted: Where the first untrusted content came from that the session received; empty while there was none.
        untrusted_count: How many calls gave such content.
    """

    session_id: str
    principal: str
    profile: str
    workspace: str
    confinement: str
    kernel_limits: str = ""
    open_calls: int = 0
    tools: int = 0
    secrets: tuple[str, ...] = ()
    """The names of those `hermes.secret` can mean here."""
    narrowed_to: tuple[tuple[str, ...], ...] = ()
    untrusted: str = ""
    untrusted_count: int = 0


# from the wire ---------------------------------------------------------------------------------------------------------


def convert(value: Any, kind: type[T], tool: str) -> T:
    """Read a result into its declared shape. What a newer host adds is ignored.

    Raises:
        ToolFailedError: It doesn't fit.
    """
    try:
        return msgspec.convert(value, type=kind)
    except (msgspec.ValidationError, UnicodeError) as error:
        from hermes_protocol.misfits import explain  # a release's difference: no call needs it otherwise

        problem = explain(error, kind, "field")
        raise ToolFailedError(
            f"{tool}: the host's answer can't be read ({problem}); host and notebook should use the same release"
        ) from None

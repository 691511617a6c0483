"""Two texts beside each other as rows of a table, so that what belongs together stays together however its lines wrap.

What was removed and added is told by an element and a sign, not by colour alone. What is equal for long is left out and
counted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence

from host_bridge.executor.sanitising import safe_text

STYLE = """\
.code { width: 100%; table-layout: fixed; border: 1px solid var(--line); margin: 0 0 .5rem; }
.code td { padding: 0 .4rem; box-sizing: border-box; }
.code .n { width: 3.4em; text-align: right; color: var(--dim); background: var(--soft); }
.code td:nth-child(3) { border-left: 1px solid var(--line); }
.code .gap { background: var(--soft); } .code .fold { color: var(--dim); background: var(--soft); text-align: center; }
.code ins, .code del { text-decoration: none; } .code .add { background: var(--add); } .code .del { background: var(--del); }
.code .add ins::before { content: "+ "; } .code .del del::before { content: "− "; } .code .same::before { content: "  "; }
.add mark { background: var(--add-word); color: inherit; } .del mark { background: var(--del-word); color: inherit; }
@media (max-width: 45rem) { .code, .code tbody { display: block; } .code tr { display: grid; grid-template-columns: 3.4em 1fr; }
  .code .twin, .code .gap { display: none; } .code td:nth-child(3) { border-left: 0; } }"""

_CONTEXT_LINES = 3  # what `diff -u` and git show around a change
_MAX_ALIGNED_LINES = 2_000  # alignment takes the square of it: a quarter of a second for lines that are all alike
_MAX_SHOWN_LINES = 5_000
_MAX_WORDS_CHARACTERS = 500
_MAX_LINES_WITH_WORDS = 300
_LIKE_ENOUGH = 0.5  # below it, two lines have hardly more in common than their letters
_WORDS = re.compile(r"[0-9][\w.]*|\w+|\s+|[^\w\s]")

_Block = tuple[str, Sequence[str], Sequence[str], int, int]


def side_by_side(before: str, after: str) -> str:
    """Give a table of two texts."""
    rows = _rows(_blocks(before.split("\n"), after.split("\n")))
    return _table("before and after", '<col class="n"><col><col class="n"><col>', rows)


def one_side(text: str, kind: str) -> str:
    """Give a table of a text that is only in one of two: `add` or `del`."""
    lines = text.split("\n")
    shown = enumerate(lines[:_MAX_SHOWN_LINES], 1)
    rows = [f"<tr>{_changed(number, safe_text(line), kind)}</tr>" for number, line in shown]
    rows += _rest(len(lines) - _MAX_SHOWN_LINES, 2)
    return _table("added" if kind == "add" else "removed", '<col class="n"><col>', rows)


def _table(name: str, columns: str, rows: Iterable[str]) -> str:
    return (
        f'<table class="code" aria-label="{name}"><colgroup>{columns}</colgroup><tbody>{"".join(rows)}</tbody></table>'
    )


def _blocks(old: list[str], new: list[str]) -> Iterator[_Block]:
    """Align lines: what both begin and end with first, which leaves little of a large text to compare."""
    least = min(len(old), len(new))
    start = next((at for at in range(least) if old[at] != new[at]), least)
    end = next((at for at in range(least - start) if old[-1 - at] != new[-1 - at]), least - start)
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    yield "equal", old[:start], new[:start], 0, 0
    if max(len(middle_old), len(middle_new)) > _MAX_ALIGNED_LINES:
        yield "replace", middle_old, middle_new, start, start
    else:
        matcher = difflib.SequenceMatcher(None, middle_old, middle_new, autojunk=False)
        for kind, i, j, k, m in matcher.get_opcodes():
            yield kind, middle_old[i:j], middle_new[k:m], start + i, start + k
    tail = len(old) - end
    yield "equal", old[tail:], new[len(new) - end :], tail, len(new) - end


def _rows(blocks: Iterable[_Block]) -> Iterator[str]:
    blocks = [block for block in blocks if block[1] or block[2]]
    compared = 0
    for at, (kind, old, new, first_old, first_new) in enumerate(blocks):
        if kind == "equal":
            yield from _equal(old, first_old, first_new, is_first=at == 0, is_last=at == len(blocks) - 1)
            continue
        count = max(len(old), len(new))
        for row in range(min(count, _MAX_SHOWN_LINES)):
            one, other = (lines[row] if row < len(lines) else None for lines in (old, new))
            compared += 1
            left, right = _pair(one, other, with_words=compared <= _MAX_LINES_WITH_WORDS)
            yield f"<tr>{_side(left, first_old + row + 1, 'del')}{_side(right, first_new + row + 1, 'add')}</tr>"
        yield from _rest(count - _MAX_SHOWN_LINES, 4)


def _equal(lines: Sequence[str], first_old: int, first_new: int, *, is_first: bool, is_last: bool) -> Iterator[str]:
    head = 0 if is_first else _CONTEXT_LINES
    tail = 0 if is_last else _CONTEXT_LINES
    left_out = len(lines) - head - tail
    for at, line in enumerate(lines):
        if (
            left_out > 1 and head <= at < len(lines) - tail
        ):  # one line takes no more room than to say that it is left out
            if at == head:
                yield _fold(f"{left_out:,} equal lines", 4)
            continue
        text = safe_text(line)
        yield (
            f'<tr><td class="n twin">{first_old + at + 1}</td><td class="same twin">{text}</td>'
            f'<td class="n">{first_new + at + 1}</td><td class="same">{text}</td></tr>'
        )


def _rest(count: int, width: int) -> list[str]:
    return [_fold(f"{count:,} more lines", width)] if count > 0 else []


def _fold(text: str, width: int) -> str:
    return f'<tr><td class="fold" colspan="{width}">{text}</td></tr>'


def _side(text: str | None, number: int, kind: str) -> str:
    return '<td class="gap" colspan="2"></td>' if text is None else _changed(number, text, kind)


def _changed(number: int, text: str, kind: str) -> str:
    element = "ins" if kind == "add" else "del"
    return f'<td class="n">{number}</td><td class="{kind}"><{element}>{text}</{element}></td>'


def _pair(one: str | None, other: str | None, *, with_words: bool) -> tuple[str | None, str | None]:
    """Give two lines as HTML, with the words marked in which they differ."""
    if one is None or other is None or not with_words or max(len(one), len(other)) > _MAX_WORDS_CHARACTERS:
        return (None if one is None else safe_text(one)), (None if other is None else safe_text(other))
    old, new = _WORDS.findall(one), _WORDS.findall(other)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < _LIKE_ENOUGH:
        return safe_text(one), safe_text(other)
    left, right = "", ""
    for kind, i, j, k, m in matcher.get_opcodes():
        left += _marked("".join(old[i:j]), kind)
        right += _marked("".join(new[k:m]), kind)
    return left, right


def _marked(text: str, kind: str) -> str:
    return safe_text(text) if kind == "equal" or not text else f"<mark>{safe_text(text)}</mark>"

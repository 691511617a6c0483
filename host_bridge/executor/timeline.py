"""Bars on a line of time, drawn with attributes that a page's policy allows: no style, no script."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import NamedTuple

STYLE = """\
.time { width: 38%; min-width: 9rem; padding: .15rem 0; } .time svg { display: block; width: 100%; height: 1.4em; }
.time .rail { fill: var(--soft); } .time .good { fill: var(--good); } .time .bad { fill: var(--bad); }
.time .wait { fill: var(--amber); } .time .off { fill: var(--dim); } .time .call { fill: var(--link); }
@media (max-width: 45rem) { .time { min-width: 5rem; } }
@media print { .time svg { print-color-adjust: exact; } }"""

_WIDTH = 1000
_LEAST = 3  # what is too short to be seen is drawn all the same


class Span(NamedTuple):
    """From when to when, in seconds since the line's beginning; `kind` is one of the style's classes."""

    start: float
    end: float
    kind: str


def bar(spans: Iterable[Span], ticks: Iterable[Span], total: float, told: str) -> str:
    """Draw one line.

    Args:
        spans: What took its time.
        ticks: What happened in it, drawn below.
        total: How long the whole line is.
        told: The same in words, for who doesn't see it.
    """
    drawn = [f'<rect class="rail" width="{_WIDTH}" height="20"/>']
    drawn += [_rect(span, total, 2, 10) for span in spans]
    drawn += [_rect(span, total, 13, 5) for span in ticks]
    return (
        f'<svg viewBox="0 0 {_WIDTH} 20" preserveAspectRatio="none" role="img" aria-label="{html.escape(told)}">'
        f"{''.join(drawn)}</svg>"
    )


def _rect(span: Span, total: float, top: int, height: int) -> str:
    start, end = _place(span.start, total), _place(span.end, total)
    width = max(_LEAST, end - start)
    left = min(start, _WIDTH - width)
    return f'<rect class="{span.kind}" x="{left:.0f}" y="{top}" width="{width:.0f}" height="{height}"/>'


def _place(seconds: float, total: float) -> float:
    if not math.isfinite(seconds) or not math.isfinite(total) or total <= 0:
        return 0.0
    return min(max(seconds / total, 0.0), 1.0) * _WIDTH

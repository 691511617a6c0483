"""How long and how much, as a person reads it. Numbers of a tape may be anything, so each of them has a spelling."""

from __future__ import annotations

import math


def took(seconds: float) -> str:
    """Spell a duration with two or three digits that matter: `4.2 ms`, `220 ms`, `12.3 s`, `5 min 8 s`, `3 h 12 min`."""
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    if seconds < 0.9995:
        milliseconds = seconds * 1e3
        return f"{milliseconds:.0f} ms" if milliseconds >= 9.95 else f"{milliseconds:.1f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Spell a number of bytes: `0 B`, `812 B`, `1.4 KiB`, `3.0 MiB`."""
    for unit, bytes_of_it in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= bytes_of_it:
            return f"{count / bytes_of_it:,.1f} {unit}"
    return f"{count:.0f} B"

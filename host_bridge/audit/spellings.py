"""The forms in which a secret's value turns up in what programs write.

Found are the value itself and what the usual encoders make of it: a URL's, JSON's, HTML's, a terminal's line breaks, and base64
wherever in the encoded text it lies (`user:password`, say). Not found is what somebody made of it deliberately: reversed, in
hex, compressed, a character per line. So this is a net for accidents, not a wall against a command that was given the value.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import msgspec

_MIN_LINE = 16  # of a value of several lines, such as a key, each line that long is looked for by itself
_MIN_BASE64_BYTES = 6  # the encoded middle of less than that is found in any text
_ESCAPE = re.compile("%[0-9A-F]{2}")
_URL_SAFE = str.maketrans("+/", "-_")


def spellings(value: str) -> frozenset[str]:
    """Give every form in which a value is looked for; none of an empty one."""
    found: set[str] = set()
    for piece in _pieces(value):
        # What came from the file system may hold halves of surrogate pairs, which UTF-8 can't say.
        safe = piece.encode("utf-8", "backslashreplace").decode()
        found |= {safe, html.escape(safe), msgspec.json.encode(safe)[1:-1].decode(), json.dumps(safe)[1:-1]}
        for escaped in (quote(safe, safe=""), quote(safe), quote_plus(safe), quote_plus(safe, safe="/")):
            found |= {escaped, _ESCAPE.sub(lambda match: match[0].lower(), escaped)}
        found |= {safe.replace("\n", "\r\n")} if "\n" in safe else set()
        found |= set(_in_base64(piece.encode("utf-8", "surrogatepass")))
    return frozenset(found)


def _pieces(value: str) -> Iterator[str]:
    if not value:
        return
    yield value
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _MIN_LINE)


def _in_base64(data: bytes) -> Iterator[str]:
    """Give what base64 makes of these bytes wherever they begin within a group of three, without what neighbours change."""
    if len(data) < _MIN_BASE64_BYTES:
        return
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).decode()
        first = (before * 8 + 5) // 6  # the first character all of whose bits are ours
        last = (before + len(data)) * 8 // 6
        yield encoded[first:last]
        yield encoded[first:last].translate(_URL_SAFE)

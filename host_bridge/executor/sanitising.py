"""Making what notebooks hold harmless on a page: text of kernels and strangers, HTML, pictures.

A list of what may stay, and nothing else stays: the HTML that data frames and reports are made of. No script, no style, no
address that a browser would fetch by itself, no link but to the web and within the page. What is no HTML is shown as text.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from typing import Any

from host_bridge.policy.display import escaped

_KEPT_NAMES = """a abbr b blockquote br caption code col colgroup dd del details dfn div dl dt em figcaption figure hr i ins
    kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var"""
_DROPPED_NAMES = """script style template noscript noembed noframes iframe object embed applet svg math head title textarea
    select audio video canvas frameset xmp plaintext"""
_TAGS = frozenset(_KEPT_NAMES.split())
_DROPPED_WHOLE = frozenset(_DROPPED_NAMES.split())
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
"""The page's own headings say what is where, so what a notebook shows as one becomes strong text."""
_VOID = frozenset({"br", "hr", "col"})
_ATTRIBUTES = frozenset({"colspan", "rowspan", "span", "title", "start", "align", "open", "scope"})
_LINK = re.compile(r"https?://[^\s\x00-\x20]+", re.IGNORECASE)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_MAX_DEPTH = 200
MAX_HTML_CHARACTERS = 500_000
MAX_IMAGE_CHARACTERS = 8_000_000  # of base64: a picture that somebody drew to be looked at is a tenth of it
MAX_TEXT_CHARACTERS = 200_000
MAX_TOLD_CHARACTERS = 200
IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")


def safe_text(text: str) -> str:
    """Give text as HTML: invisible characters visible, terminal colours gone, cut where it is too long to be read."""
    shown = _ANSI.sub("", text[:MAX_TEXT_CHARACTERS]).replace("\t", "    ").replace("\r\n", "\n")
    left_out = len(text) - MAX_TEXT_CHARACTERS
    lines = "\n".join(escaped(line) for line in shown.split("\n"))
    return html.escape(lines) + (f"… ({left_out} more characters)" if left_out > 0 else "")


def safe_html(markup: str) -> str:
    """Give HTML with what may stay of it. It is parsed and written anew, so that nothing of the original's spelling is left."""
    if len(markup) > MAX_HTML_CHARACTERS:
        return f"<p>(HTML of {len(markup)} characters, not shown)</p>"
    from lxml import etree  # type: ignore[import-untyped, unused-ignore]
    from lxml import html as lxml_html

    try:
        fragments = lxml_html.fragments_fromstring(markup.replace("\x00", ""))
    except (etree.LxmlError, ValueError, AssertionError):
        return f"<pre>{safe_text(markup)}</pre>"
    pieces: list[str] = []
    for fragment in fragments:
        if isinstance(fragment, str):
            pieces.append(safe_text(fragment))
        else:
            _write(fragment, pieces, 0)
    return "".join(pieces)


def overwritten(text: str) -> str:
    """Give what was printed as a terminal leaves it: a bar of progress that was drawn a thousand times stands there once."""
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return "\n".join(line.rpartition("\r")[2] for line in lines)


def safe_image(mime: str, data: Any, told: str = "") -> str:
    """Give a picture as an `<img>` that holds it; a note where it is none that can be shown.

    Args:
        mime: Its type.
        data: Base64, or SVG.
        told: What stands for it where it can't be seen.
    """
    if mime not in IMAGE_TYPES:
        return f"<p>({html.escape(mime[:100])}, not shown)</p>"
    text = "".join(data) if isinstance(data, list) and all(isinstance(line, str) for line in data) else data
    if not isinstance(text, str):
        return "<p>(a picture that is no text, not shown)</p>"
    if len(text) > MAX_IMAGE_CHARACTERS:
        return f"<p>(a picture of {len(text)} characters, not shown)</p>"
    try:
        # An SVG in an <img> is drawn without its scripts and fetches nothing.
        raw = text.encode() if mime == "image/svg+xml" else base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return "<p>(a picture that isn't base64, not shown)</p>"
    alternative = safe_text(told[:MAX_TOLD_CHARACTERS]) or "a picture"
    return f'<img alt="{alternative}" src="data:{mime};base64,{base64.b64encode(raw).decode()}">'


def _write(element: Any, pieces: list[str], depth: int) -> None:
    tag = (
        element.tag if isinstance(element.tag, str) else ""
    )  # comments and processing instructions have functions here
    if tag and tag not in _DROPPED_WHOLE and depth < _MAX_DEPTH:
        is_kept = tag in _TAGS
        if is_kept:
            pieces.append(f"<{tag}{_attributes(tag, element)}>")
        elif tag in _HEADINGS:
            pieces.append("<div><strong>")
        if tag not in _VOID:
            if element.text:
                pieces.append(safe_text(element.text))
            for child in element:
                _write(child, pieces, depth + 1)
            if is_kept:
                pieces.append(f"</{tag}>")
            elif tag in _HEADINGS:
                pieces.append("</strong></div>")
        if tag == "img":
            pieces.append(_image(element))
    if element.tail:
        pieces.append(safe_text(element.tail))


def _attributes(tag: str, element: Any) -> str:
    kept = {name: value for name, value in element.attrib.items() if name in _ATTRIBUTES}
    address = element.attrib.get("href", "").strip() if tag == "a" else ""
    if _LINK.fullmatch(address):
        kept |= {"href": address, "rel": "noopener noreferrer nofollow", "target": "_blank"}
    return "".join(f' {name}="{html.escape(value)}"' for name, value in kept.items())


def _image(element: Any) -> str:
    source = element.attrib.get("src", "")
    mime, separator, data = source.removeprefix("data:").partition(";base64,")
    if not source.startswith("data:") or not separator:
        return "(a picture from elsewhere, not fetched)"
    told = element.attrib.get("alt", "")
    return safe_image(mime.lower(), data, told) if mime.lower() != "image/svg+xml" else "(a picture, not shown)"

"""From a body to text: HTML as Markdown, text as it is, nothing else. Runs in a web worker."""

from __future__ import annotations

import codecs
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from host_bridge.tools.web.problems import WebError

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_TEXT = re.compile(
    r"text/.+|application/(?:json|xml|yaml|toml|javascript|x-ndjson|graphql)|[^/]+/[^/]+\+(?:json|xml|yaml)"
)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_META_WITHIN = 4096  # browsers look at the first 1024 bytes
# Only what maps bytes to characters: Python has "codecs" that decompress, execute escapes, or take quadratic time.
_CHARSET = re.compile(
    r"utf-?8|utf-?16(?:-?[lb]e)?|(?:us-)?ascii|iso-?8859-?\d{1,2}|latin-?1|(?:windows|cp)-?\d{3,4}|koi8-?[rtu]"
    r"|gb(?:k|2312|18030)|big5(?:-?hkscs)?|euc-?(?:jp|kr)|shift[_-]?jis|sjis|iso-?2022-?(?:jp|kr)|mac-?roman|tis-?620",
    re.IGNORECASE,
)
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

# What a reader of the page would not see as its text.
_UNSEEN = frozenset(
    {
        "applet", "audio", "canvas", "dialog", "embed", "frame", "iframe", "noscript", "object", "script", "select", "style",
        "svg", "template", "video",
    }
)  # fmt: skip
_HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_LINK_SCHEMES = frozenset({"http", "https", "mailto"})
_BLANK_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def to_text(body: bytes, content_type: str, url: str) -> tuple[str, str, str]:
    """Give a body's title, its text, and the kind of content it is.

    Args:
        content_type: The header as it came; what is missing is guessed.
        url: Where it came from: links in it become absolute.

    Raises:
        WebError: It is not text.
    """
    kind, charset = _read_content_type(content_type)
    if not kind:
        kind = _guess(body)
    if kind in _HTML:
        title, text = _convert(_decode(body, charset or _declared_charset(body)), url)
    elif _TEXT.fullmatch(kind):
        title, text = "", _decode(body, charset)
    else:
        raise WebError(f"the content is {kind[:100]}, not text; only HTML, text and JSON can be read")
    return title, _CONTROLS.sub("", text.replace("\r\n", "\n")), kind


def _read_content_type(header: str) -> tuple[str, str]:
    kind, *parameters = header.split(";")
    charset = ""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip(" \t\"'")
    return kind.strip().lower(), charset


def _guess(body: bytes) -> str:
    start = body[:1024].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "text/html"
    return "application/octet-stream" if b"\0" in body[:1024] or start.startswith(b"%pdf") else "text/plain"


def _declared_charset(body: bytes) -> str:
    found = _META_CHARSET.search(body, 0, _META_WITHIN)
    return found[1].decode() if found else ""


def _decode(body: bytes, charset: str) -> str:
    for mark, name in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return body.decode(name, errors="replace")
    if _CHARSET.fullmatch(charset):
        if charset.lower() in ("iso-8859-1", "latin1", "latin-1", "ascii", "us-ascii"):
            charset = "windows-1252"  # what browsers take these for, and what pages mean
        try:
            return body.decode(charset, errors="replace")
        except LookupError:
            pass  # a number no charset has: as if none were declared
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode(errors="replace")


def _convert(html: str, url: str) -> tuple[str, str]:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup: Any = BeautifulSoup(html, "lxml")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    _strip(soup)
    _clean_links(soup, _base(soup, url))
    content = soup.body or soup
    convert: Callable[[Any], str] = MarkdownConverter(
        heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False, escape_misc=False
    ).convert_soup
    try:
        text = convert(content)
    except RecursionError:
        text = content.get_text("\n")  # nested deeper than any page people read: its words are what is left of it
    return title, _BLANK_LINES.sub("\n\n", text).strip() + "\n"


def _strip(soup: Any) -> None:
    from bs4 import Comment, Declaration, Doctype, ProcessingInstruction

    for unseen in soup.find_all(
        string=lambda text: isinstance(text, (Comment, Declaration, Doctype, ProcessingInstruction))
    ):
        unseen.extract()
    for tag in soup.find_all(_is_unseen):
        if not tag.decomposed:
            tag.decompose()


def _is_unseen(tag: Any) -> bool:
    return (
        tag.name in _UNSEEN
        or tag.has_attr("hidden")
        or tag.get("aria-hidden") == "true"
        or _HIDING_STYLE.search(str(tag.get("style", ""))) is not None
    )


def _base(soup: Any, url: str) -> str:
    tag = soup.find("base", href=True)
    return _absolute(url, str(tag["href"])) or url if tag else url


def _clean_links(soup: Any, base: str) -> None:
    """Make links absolute, and drop those that are not links but code or data."""
    for name, attribute in (("a", "href"), ("img", "src")):
        for tag in soup.find_all(name):
            target = _absolute(base, str(tag.get(attribute, "")))
            if target:
                tag[attribute] = target
            elif name == "a":
                tag.unwrap()
            else:
                tag.replace_with(str(tag.get("alt", "")))


def _absolute(base: str, reference: str) -> str:
    if not (reference := reference.strip()):
        return ""
    try:
        target = urllib.parse.urljoin(base, reference)
        scheme = urllib.parse.urlsplit(target).scheme
    except ValueError:
        return ""
    return target if scheme in _LINK_SCHEMES else ""

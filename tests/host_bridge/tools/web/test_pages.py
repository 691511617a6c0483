from __future__ import annotations

import time

import pytest

from host_bridge.tools.web.pages import to_text
from host_bridge.tools.web.problems import WebError

URL = "https://a.example/dir/page"


def markdown(html: str, content_type: str = "text/html; charset=utf-8") -> str:
    return to_text(html.encode(), content_type, URL)[1]


def test_html_becomes_markdown() -> None:
    page = """<!doctype html><html><head><title> A  title\n</title></head><body>
      <h1>One</h1><p>Some <b>bold</b> text, snake_case and 2*3.</p><ul><li>a<li>b</ul>
      <table><tr><th>x</th></tr><tr><td>1</td></tr></table><pre>if x:\n    y</pre></body></html>"""
    title, text, kind = to_text(page.encode(), "text/html", URL)
    assert (title, kind) == ("A title", "text/html")
    assert text.startswith("# One\n\nSome **bold** text, snake_case and 2*3.\n\n- a\n- b\n")
    assert "| x |" in text
    assert "```\nif x:\n    y\n```" in text


def test_what_a_reader_does_not_see_is_left_out() -> None:
    html = """<p>seen</p><script>secret()</script><style>secret{}</style><!-- secret --><template>secret</template>
      <noscript>secret</noscript><div hidden>secret</div><p style="color: red; Display : NONE">secret</p>
      <span aria-hidden="true">secret</span><div style="visibility:hidden"><p hidden>secret</p></div><svg><text>secret</svg>
      <iframe srcdoc="secret">secret</iframe><object>secret</object>"""
    assert markdown(html) == "seen\n"


def test_links_are_absolute_and_code_is_no_link() -> None:
    html = """<a href="/x">a</a> <a href="y?z">b</a> <a href="JavaScript:alert(1)">c</a> <a href=" data:text/html,x">d</a>
      <a href="java\nscript:x">e</a> <a>f</a> <img src="i.png" alt="g"> <img src="data:image/png;base64,AAAA" alt="h">
      <a href="http://[">j</a>"""
    assert markdown(html).split() == [
        "[a](https://a.example/x)",
        "[b](https://a.example/dir/y?z)",
        *["c", "d", "e", "f"],
        "![g](https://a.example/dir/i.png)",
        "h",
        "j",
    ]


def test_a_base_is_honoured_unless_it_is_code() -> None:
    assert "(https://b.example/x)" in markdown('<base href="https://b.example/"><a href="x">a</a>')
    assert "(https://a.example/dir/x)" in markdown('<base href="javascript:1"><a href="x">a</a>')


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        ("grün".encode(), "text/plain; charset=utf-8", "grün"),
        ("grün".encode("latin-1"), "text/plain; charset=ISO-8859-1", "grün"),
        ("‚grün‘".encode("cp1252"), "text/plain; charset=latin1", "‚grün‘"),
        ("日本".encode("shift_jis"), "text/plain; charset=Shift_JIS", "日本"),
        ("grün".encode("utf-16"), "text/plain", "grün"),
        ("grün".encode("utf-8-sig"), "text/plain; charset=ascii", "grün"),
        (b"gr\xfcn", "text/plain", "gr\ufffdn"),
        (b"68657921", "text/plain; charset=hex", "68657921"),
        (b"\\x41", "text/plain; charset=unicode_escape", "\\x41"),
        (b"x", "text/plain; charset=cp9999", "x"),
        (b'{"a": 1}', "application/json", '{"a": 1}'),
        (b"a,b\r\n1,2\r\n", "text/csv", "a,b\n1,2\n"),
        (b"<a/>", "application/atom+xml; charset=utf-8", "<a/>"),
        (b"bell\x07 esc\x1b[31m nul\x00", "text/plain", "bell esc[31m nul"),
        (b"guessed", "", "guessed"),
    ],
)
def test_text_is_given_as_it_is(body: bytes, content_type: str, expected: str) -> None:
    assert to_text(body, content_type, URL)[1] == expected


def test_a_page_may_declare_its_charset_itself() -> None:
    body = b'<meta http-equiv=Content-Type content="text/html; charset=iso-8859-2"><p>\xe8'
    assert to_text(body, "text/html", URL)[1] == "č\n"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"%PDF-1.7", "application/pdf"),
        (b"%PDF-1.7", ""),
        (b"\x89PNG\0", "image/png"),
        (b"x", "application/octet-stream"),
        (b"\0\0\0\0", ""),
        (b"x", "video/" + "x" * 1000),
    ],
)
def test_what_is_not_text_is_an_error(body: bytes, content_type: str) -> None:
    with pytest.raises(WebError, match="not text") as caught:
        to_text(body, content_type, URL)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 50_000 + "deep",
        "<b><i>" * 20_000 + "deep",
        "<blockquote><ul><li>" * 3000 + "deep",
        "<table><tr><td>" * 3000 + "deep",
        "<!" * 100_000 + "deep",
        "<a href='" * 50_000 + "deep",
        "&" * 500_000,
        "<p>" + "\n" * 500_000 + "</p>deep",
        "<p>" + "\n \n\t" * 100_000 + "x",
    ],
    ids=lambda html: html[:12],
)
def test_hostile_nesting_ends_soon(html: str) -> None:
    started = time.monotonic()
    markdown(html)
    assert time.monotonic() - started < 20

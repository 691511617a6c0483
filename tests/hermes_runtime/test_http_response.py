"""What a web service answered, as a value."""

from __future__ import annotations

import encodings.aliases
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hermes_runtime as hermes
from hermes_runtime._http_response import HttpResponse, Redirect


class TestShowing:
    def test_is_compact_escaped_and_pickles(self) -> None:
        answer = HttpResponse(
            500,
            reason="<script>",
            headers=[("Set-Cookie", "a=1, b"), ("set-cookie", "<img src=x>"), ("Content-Type", "text/html")],
            content=b"<script>alert(1)</script>" * 10_000,
            url="javascript:alert(1)",
        )
        assert len(repr(answer)) < 300
        shown = answer._repr_html_()
        assert "<script" not in shown
        assert "<img" not in shown
        assert "href" not in shown
        assert len(shown) < 100_000
        assert answer.headers.get_all("Set-Cookie") == ["a=1, b", "<img src=x>"]
        assert pickle.loads(pickle.dumps(answer)).as_dict() == answer.as_dict()

    @pytest.mark.parametrize(
        "charset",
        ["nonsense", "base64", "\0", "utf-8; x", "'latin-1'", "idna", "punycode", "unicode_escape", "rot13", "hex"],
    )
    def test_text_is_text_whatever_the_charset_is_said_to_be(self, charset: str) -> None:
        answer = HttpResponse(200, headers=[("content-type", f"text/plain; charset={charset}")], content=b"abc\xff")
        assert answer.text.startswith("abc")

    def test_says_where_a_saved_body_is(self) -> None:
        answer = HttpResponse(200, url="https://a.example/", saved_to="<b>.bin", saved_bytes=5_000)
        assert "5,000 bytes in '<b>.bin'" in repr(answer)
        assert "<b>.bin" not in answer._repr_html_()
        assert "5,000 bytes" in answer._repr_html_()

    def test_a_redirect_is_shown_and_plain(self) -> None:
        hop = Redirect(302, "GET", "https://a.example/", "https://b.example/<b>")
        answer = HttpResponse(200, history=[hop])
        assert answer.as_dict()["history"] == [hop.as_dict()]
        assert "<b>" not in hop._repr_html_()


class TestText:
    @pytest.mark.parametrize(
        ("content", "said", "text"),
        [
            ("grün".encode(), "", "grün"),
            ("grün".encode("latin-1"), "; charset=latin-1", "grün"),
            ("grün".encode("latin-1"), "", "grün"),
            ("5 €".encode("windows-1252"), "; charset=nonsense", "5 €"),
            ("grün".encode("utf-8-sig"), "", "grün"),
            ("grün".encode("utf-16"), "", "grün"),
            ("grün".encode("utf-32"), "", "grün"),
            ("日本".encode("shift_jis"), '; Charset="Shift_JIS"', "日本"),
            (b"", "", ""),
        ],
    )
    def test_is_what_the_server_says_or_else_what_its_bytes_are(self, content: bytes, said: str, text: str) -> None:
        assert HttpResponse(200, headers=[("content-type", f"text/plain{said}")], content=content).text == text

    def test_that_was_cut_within_a_character_is_what_it_was(self) -> None:
        content = "grün".encode()[:3]
        assert HttpResponse(200, content=content, truncated=True).text == "gr\ufffd"
        assert HttpResponse(200, content=content).encoding == "windows-1252"

    @settings(max_examples=30)  # Python looks for a module of each name
    @given(
        content=st.binary(max_size=100),
        charset=st.text(max_size=20) | st.sampled_from(sorted(encodings.aliases.aliases)),
        truncated=st.booleans(),
    )
    def test_is_text_whatever_came(self, content: bytes, charset: str, truncated: bool) -> None:
        headers = [("content-type", f"text/plain; charset={charset}")]
        answer = HttpResponse(200, headers=headers, content=content, truncated=truncated)
        assert isinstance(answer.text, str)
        assert answer.text == HttpResponse(200, headers=headers, content=content, truncated=truncated).text


def test_json_is_read_in_the_encodings_that_json_may_have() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32-le"):
        assert HttpResponse(200, content='{"a": "ü"}'.encode(encoding)).json() == {"a": "ü"}
    with pytest.raises(hermes.ToolFailedError, match="no JSON"):
        HttpResponse(200, content=b"{").json()

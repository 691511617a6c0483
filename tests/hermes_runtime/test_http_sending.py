"""What people pass to a request becomes what is sent, and no more than that."""

from __future__ import annotations

import email.parser
import email.policy
import io
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_runtime._errors import InvalidToolRequestError
from hermes_runtime._http_sending import fields, multipart, whole_url

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
PRINTABLE = NAMES.filter(lambda name: name.isprintable() and "%22" not in name)


def parts_of(body: bytes, content_type: str) -> list[tuple[str, str | None, str, bytes]]:
    """Read a body as a server does: name, file's name, type and content of each part."""
    boundary = b"--" + content_type.partition("boundary=")[2].encode()
    before, *pieces, after = body.split(boundary)
    assert (before, after) == (b"", b"--\r\n")
    found = []
    for piece in pieces:
        assert piece.startswith(b"\r\n")
        assert piece.endswith(b"\r\n")
        head, _, content = piece[2:-2].partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        kind, *values = lines.pop("Content-Disposition").split("; ", 1)
        assert kind == "form-data"
        name, _, file = values[0].removeprefix('name="').removesuffix('"').partition('"; filename="')
        found.append((name, file or None, lines.pop("Content-Type", ""), content))
        assert not lines, "a part has a header that nobody gave it"
    return found


@given(
    data=st.dictionaries(PRINTABLE, st.text(st.characters(codec="utf-8"), max_size=30), max_size=3),
    files=st.dictionaries(PRINTABLE, st.tuples(PRINTABLE, st.binary(max_size=100)), min_size=1, max_size=3),
)
def test_parts_arrive_as_they_were_given_whatever_is_in_them(
    data: dict[str, str], files: dict[str, tuple[str, bytes]]
) -> None:
    body, content_type = multipart(data, files)
    given_fields = [(name.replace('"', "%22"), None, "", value.encode()) for name, value in data.items()]
    given_files = [
        (name.replace('"', "%22"), file.replace('"', "%22"), "application/octet-stream", content)
        for name, (file, content) in files.items()
    ]
    assert parts_of(body, content_type) == given_fields + given_files
    assert multipart(data, files) == (body, content_type), "a replay would not find it again"


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "a\n", "\r", "a\0b", "a\u2028b", "a\x85", "\u202egnp"])
def test_names_that_would_end_their_line_are_refused(name: str) -> None:
    for data, files in (
        ({name: "x"}, {"f": b"x"}),
        (None, {name: b"x"}),
        (None, {"f": (name, b"x")}),
        (None, {"f": ("n", b"x", f"text/{name}")}),
    ):
        with pytest.raises(InvalidToolRequestError):
            multipart(data, files)


def test_a_part_that_pretends_to_be_the_end_is_content() -> None:
    _, content_type = multipart(None, {"f": b"x"})
    boundary = content_type.partition("boundary=")[2]
    fake = f'x\r\n--{boundary}\r\nContent-Disposition: form-data; name="admin"\r\n\r\n1\r\n--{boundary}--'.encode()
    body, content_type = multipart(None, {"f": fake})
    assert [content for *_, content in parts_of(body, content_type)] == [fake]


def test_files_are_content_with_or_without_names_and_open_files() -> None:
    file = io.BytesIO(b"open")
    file.name = "/folder/n.bin"  # type: ignore[misc]
    body, content_type = multipart(None, {"a": "text", "b": ("n.csv", b"1,2", "text/csv"), "c": file})
    assert parts_of(body, content_type) == [
        ("a", "a", "application/octet-stream", b"text"),
        ("b", "n.csv", "text/csv", b"1,2"),
        ("c", "n.bin", "application/octet-stream", b"open"),
    ]
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + body
    )
    assert [part.get_filename() for part in message.iter_parts()] == ["a", "n.csv", "n.bin"]  # type: ignore[attr-defined]


@given(st.lists(st.tuples(NAMES, NAMES), max_size=5))
def test_parameters_go_behind_what_the_url_has_and_before_its_fragment(pairs: list[tuple[str, str]]) -> None:
    for url in (
        "https://a.example/x",
        "https://a.example/x?",
        "https://a.example/x?b=1",
        "https://a.example/x?b=1#c?d",
    ):
        split = urlsplit(whole_url(url, pairs))
        had = [("b", "1")] if "b=1" in url else []
        assert parse_qsl(split.query, keep_blank_values=True) == had + pairs
        assert (split.netloc, split.path, split.fragment) == ("a.example", "/x", url.partition("#")[2])


def test_fields_are_text_numbers_and_lists_of_them() -> None:
    assert list(fields({"a": 1, "b": [2.5, "x"], "c": None, "d": True}, "data")) == [
        *(("a", "1"), ("b", "2.5"), ("b", "x"), ("d", "True"))
    ]
    assert list(fields([("a", 1), ["a", 2]], "data")) == [("a", "1"), ("a", "2")]


@pytest.mark.parametrize("given_fields", ["a=b", b"a", 5, {"a": b"x"}, {"a": {}}, [("a",)], [1], {1: "a"}])
def test_what_is_no_field_is_named(given_fields: Any) -> None:
    with pytest.raises(InvalidToolRequestError, match="data"):
        list(fields(given_fields, "data"))

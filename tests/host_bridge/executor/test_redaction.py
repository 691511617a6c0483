"""Secrets are taken out of a notebook wherever they were printed, and nothing else is touched."""

from __future__ import annotations

import copy
import html
import json
import urllib.parse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.executor.parameters import redact
from host_bridge.executor.redaction import Redactor

SECRET = "hunter2-&<'\"é"


def notebook(*outputs: dict[str, Any], source: str = "", metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    cell = {
        "cell_type": "code",
        "id": "a1",
        "execution_count": 1,
        "metadata": {},
        "source": source,
        "outputs": list(outputs),
    }
    return {"cells": [cell], "metadata": metadata or {}, "nbformat": 4, "nbformat_minor": 5}


def stream(text: Any, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def display(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


def everywhere(secret: str) -> dict[str, Any]:
    error = {"output_type": "error", "ename": "E", "evalue": secret, "traceback": ["line", f"  raise E({secret!r})"]}
    return notebook(
        stream(f"a {secret} b"),
        stream(["first\n", f"{secret}\n"], "stderr"),
        display(
            {"text/html": f"<b>{html.escape(secret)}</b>", "application/json": {"k": [secret], secret: 1}},
            {"m": secret},
        ),
        display({"text/plain": repr(secret), "text/x": json.dumps({"a": secret})}),
        display({"text/plain": f"https://x/?t={urllib.parse.quote(secret, safe='')}"}),
        error,
        source=f"token = {secret!r}",
        metadata={"papermill": {"parameters": {"token": secret}}, "title": f"by {secret}"},
    )


def test_a_secret_is_replaced_everywhere_by_its_name() -> None:
    found = everywhere(SECRET)
    assert redact(found, {"token": SECRET}) > 10
    text = json.dumps(found, ensure_ascii=False)
    assert "hunter2" not in text
    assert found["cells"][0]["outputs"][0]["text"] == "a [secret token] b"
    assert found["cells"][0]["source"] in ("token = '[secret token]'", 'token = "[secret token]"')
    assert found["metadata"]["papermill"]["parameters"] == {"token": "[secret token]"}
    assert found["cells"][0]["outputs"][2]["data"]["application/json"] == {"k": ["[secret token]"], "[secret token]": 1}


@given(st.text(st.characters(codec="utf-8"), min_size=4, max_size=20).filter(lambda text: text.strip() == text))
@settings(max_examples=150, deadline=None)
def test_any_text_is_found_in_any_spelling(secret: str) -> None:
    found = everywhere(secret)
    redact(found, {"t": secret})
    assert found["cells"][0]["outputs"][0]["text"] == "a [secret t] b"
    assert found["cells"][0]["outputs"][3]["data"]["text/plain"][1:-1] == "[secret t]"
    assert found["metadata"]["title"] == "by [secret t]"


def test_what_holds_no_secret_stays_as_it_is() -> None:
    found = notebook(stream("nothing here"), display({"application/json": {"n": 12345, "b": True}}))
    before = copy.deepcopy(found)
    assert redact(found, {"token": SECRET, "pin": 999_999}) == 0
    assert redact(found, {}) == 0
    assert found == before


def test_the_format_itself_is_never_changed() -> None:
    found = notebook(stream("code"), display({"text/plain": "stream"}))
    redact(found, {"a": "code", "b": "stream", "c": "display_data", "d": "stdout", "e": 4, "f": 1})
    cell = found["cells"][0]
    assert (cell["cell_type"], cell["execution_count"], found["nbformat"]) == ("code", 1, 4)
    assert [output["output_type"] for output in cell["outputs"]] == ["stream", "display_data"]
    assert cell["outputs"][0] == stream("[secret a]")


def test_a_secret_printed_in_two_flushes_is_found() -> None:
    found = notebook(stream("x hun"), stream("ter2-abc y"), stream("later"))
    assert redact(found, {"t": "hunter2-abc"}) > 0
    outputs = found["cells"][0]["outputs"]
    assert [output["text"] for output in outputs] == ["x [secret t] ylater"]


def test_a_secret_over_three_flushes_is_found() -> None:
    found = notebook(stream("hun"), stream("ter2"), stream("-abc"), stream("tail", "stderr"))
    redact(found, {"t": "hunter2-abc"})
    assert "".join(output["text"] for output in found["cells"][0]["outputs"]) == "[secret t]tail"


def test_a_secret_of_several_lines_is_found_whole_and_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\n-----END KEY-----"
    found = notebook(
        stream(key.splitlines(keepends=True)), stream("only kqhkiG9w0BAQ here"), display({"text/plain": repr(key)})
    )
    redact(found, {"key": key})
    text = json.dumps(found)
    assert not any(part in text for part in ("MIIEvQ", "kqhkiG9"))
    assert "".join(found["cells"][0]["outputs"][0]["text"]) == "[secret key]"


def test_a_short_secret_is_replaced_as_a_word_only() -> None:
    found = notebook(stream("pin 42, year 1942, 42x"))
    redact(found, {"pin": "42"})
    assert found["cells"][0]["outputs"][0]["text"] == "pin [secret pin], year 1942, 42x"


def test_numbers_bytes_and_structures_are_secrets_too() -> None:
    found = notebook(
        stream("8675309 and b'\\xffraw-bytes' and inner-value"), display({"application/json": {"pin": 8675309}})
    )
    redact(found, {"pin": 8675309, "raw": b"\xffraw-bytes", "deep": {"a": ["inner-value", None, True]}})
    assert found["cells"][0]["outputs"][0]["text"] == "[secret pin] and b'[secret raw]' and [secret deep]"
    assert found["cells"][0]["outputs"][1]["data"]["application/json"] == {"pin": "[secret pin]"}


def test_the_longer_of_two_secrets_is_replaced_whole() -> None:
    assert Redactor({"a": "abcd", "b": "abcdefgh"}).redact("abcdefgh abcd") == "[secret b] [secret a]"


@pytest.mark.parametrize("value", ["", "   ", None, True, [], {}])
def test_an_empty_secret_replaces_nothing(value: Any) -> None:
    redactor = Redactor({"x": value})
    assert not redactor
    assert redactor.longest == 0
    assert redactor.redact("None True   ") == "None True   "


def test_log_lines_and_plain_data_are_redacted_by_the_same_rules() -> None:
    redactor = Redactor({"t": SECRET})
    assert redactor.redact(f"failed for {SECRET}") == "failed for [secret t]"
    assert redactor.value({"a": [SECRET, 1]}) == {"a": ["[secret t]", 1]}
    assert redactor.longest >= len(SECRET)

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.audit.log import AuditLog, verify
from host_bridge.audit.records import CallDecided, PeerRefused
from host_bridge.audit.redaction import MAX_RECORD_BYTES, Redactor

SECRETS = ["hunter2-hunter2", 'quo"te\\back', "ünïcode-sécret", "two\nlines", "with space&more", "x"]


def decided(**fields) -> CallDecided:
    return CallDecided(
        **{"call_id": "c", "session_id": "s", "principal": "p", "tool": "t", "effect": "allow", **fields}
    )


def encoded(secrets, **fields) -> str:
    return Redactor(secrets).encode(decided(**fields)).decode()


@pytest.mark.parametrize("secret", SECRETS[:-1])
@pytest.mark.parametrize(
    "place",
    [
        lambda secret: {"arguments": {"a": secret}},
        lambda secret: {"arguments": {"a": f"before {secret} after"}},
        lambda secret: {"arguments": {secret: 1}},
        lambda secret: {"arguments": {"a": [{"b": (secret,)}]}},
        lambda secret: {"arguments": {"a": quote(secret, safe="")}},
        lambda secret: {"arguments": {"a": json.dumps({"b": secret}, ensure_ascii=False)}},
        lambda secret: {"arguments": {"a": "x" * 5000 + secret}},
        lambda secret: {"arguments": {"a": secret + "\ud800"}},
        lambda secret: {"reason": f"denied {secret}"},
        lambda secret: {"rule_id": secret},
        lambda secret: {"tool": secret},
        lambda secret: {"principal": secret},
        lambda secret: {"notebook": f"/ws/{secret}.ipynb"},
        lambda secret: {"run_id": secret},
    ],
    ids=range(14),
)
def test_a_secret_is_in_no_field_in_no_spelling(secret, place):
    text = encoded(SECRETS[:-1], **place(secret))
    for spelling in (secret, quote(secret, safe=""), json.dumps(secret, ensure_ascii=False)[1:-1]):
        assert spelling not in text
    assert secret not in str(json.loads(text))
    json.loads(text)


def test_a_short_secret_can_not_break_the_shape():
    fields = json.loads(
        encoded(["e", "call", '"', ":", "allow"], arguments={"eve": "she said: call"}, arguments_digest="e" * 64)
    )
    assert fields["type"] == "call_decided"
    assert fields["effect"] == "allow"
    assert fields["arguments_digest"] == "e" * 64
    assert list(fields["arguments"]) == ["[secret]v[secret]"]


def test_a_secret_within_a_secret_leaves_nothing_of_either():
    text = encoded(["pass", "password-123"], arguments={"a": "password-123 pass"})
    assert json.loads(text)["arguments"]["a"] == "[secret] [secret]"


def test_without_secrets_nothing_is_replaced_and_empty_ones_are_ignored():
    assert json.loads(encoded(["", ""], arguments={"a": "b"}))["arguments"] == {"a": "b"}


@given(st.text(min_size=1), st.text(), st.text())
def test_no_secret_survives_whatever_it_is(secret, before, after):
    text = Redactor([secret]).encode(PeerRefused(code="c", message=before + secret + after)).decode()
    message = json.loads(text)["message"]
    assert secret not in message.replace("[secret]", "\x00") or secret == "\x00"


def test_long_values_are_cut_and_named_by_their_digest():
    fields = json.loads(encoded([], arguments={"content": "y" * 100_000, "data": b"z" * 100_000, "short": "s"}))
    assert len(fields["arguments"]["content"]) < 2000
    assert "100000 bytes, sha256 " in fields["arguments"]["content"]
    assert fields["arguments"]["data"].startswith("[100000 bytes, sha256 ")
    assert fields["arguments"]["short"] == "s"


def test_a_record_is_bounded_however_many_values_it_has():
    body = Redactor().encode(decided(arguments={f"k{n}": "y" * 4000 for n in range(1000)}, reason="r" * 100_000))
    assert len(body) < MAX_RECORD_BYTES
    fields = json.loads(body)
    assert set(fields["arguments"]) == {"left_out"}
    assert fields["call_id"] == "c"


def test_arguments_nobody_could_encode_are_still_recorded():
    deep: dict = {}
    for _ in range(5000):
        deep = {"d": deep}
    text = encoded(
        [], arguments={"deep": deep, "surrogate": "\udcff", "set": {1}, "n": 2**80, "b": True, "f": 1.5, "none": None}
    )
    fields = json.loads(text)["arguments"]
    assert fields["surrogate"] == "\\udcff"
    assert fields["n"] == "0x100000000000000000000"
    assert (fields["b"], fields["f"], fields["none"]) == (True, 1.5, None)


def test_a_log_with_replaced_values_verifies(tmp_path):
    log = AuditLog.open(tmp_path / "a.jsonl", secrets=SECRETS)
    log.append(decided(arguments={"a": "hunter2-hunter2"}))
    log.close()
    assert "hunter2" not in (tmp_path / "a.jsonl").read_text()
    assert verify(tmp_path / "a.jsonl").ok

"""Where values are read, and what is no place for one."""

from __future__ import annotations

import os
import sys

import pytest

from host_bridge.secrets.sources import SourceError, check_source, read_source

VALUE = "s3cret"


def test_a_variable_of_the_host():
    assert read_source("env:TOKEN", {"TOKEN": VALUE}) == VALUE
    with pytest.raises(SourceError, match="TOKEN is not set"):
        read_source("env:TOKEN", {})
    with pytest.raises(SourceError, match="is empty"):
        read_source("env:TOKEN", {"TOKEN": ""})


@pytest.mark.parametrize(("value", "said"), [("abc", "fewer than 4"), ("bytes \udcff", "UTF-8")])
def test_what_could_not_be_hidden_or_sent_is_refused(value, said):
    with pytest.raises(SourceError, match=said) as refused:
        read_source("env:TOKEN", {"TOKEN": value})
    assert value not in str(refused.value)


def test_a_file_of_ones_own_without_its_last_line_break(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{VALUE}\n")
    path.chmod(0o600)
    assert read_source(f"file:{path}", {}) == VALUE


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o644])
def test_a_file_that_others_may_touch_is_refused_with_the_remedy(tmp_path, mode):
    path = tmp_path / "token"
    path.write_text(VALUE)
    path.chmod(mode)
    with pytest.raises(SourceError, match=f"chmod 600 {path}") as refused:
        read_source(f"file:{path}", {})
    assert VALUE not in str(refused.value)


def test_what_is_no_file_of_ones_own_is_refused(tmp_path):
    real = tmp_path / "token"
    real.write_text(VALUE)
    real.chmod(0o600)
    (tmp_path / "link").symlink_to(real)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, said in (("link", "symbolic link"), ("pipe", "not a regular file"), ("missing", "No such file")):
        with pytest.raises(SourceError, match=said):
            read_source(f"file:{tmp_path / name}", {})


@pytest.mark.parametrize(
    ("data", "said"), [(b"\xff\xfe", "UTF-8"), (b"aa\0bb", "NUL"), (b"x" * 70_000, "more than"), (b"\n", "empty")]
)
def test_a_file_that_can_hold_no_secret_is_refused(tmp_path, data, said):
    path = tmp_path / "token"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(SourceError, match=said):
        read_source(f"file:{path}", {})


@pytest.mark.parametrize("source", ["", "TOKEN", "env:", "vault:x", "keyring:service", "keyring:/user", "file:a\0b"])
def test_what_is_no_source_is_said_before_anything_is_read(source):
    assert check_source(source)
    with pytest.raises(SourceError):
        read_source(source, {"TOKEN": VALUE})


@pytest.fixture
def file_keyring(tmp_path):
    """A real backend of the keyring library, in a file."""
    keyring = pytest.importorskip("keyring")
    plaintext = pytest.importorskip("keyrings.alt.file").PlaintextKeyring()
    plaintext.file_path = str(tmp_path / "keyring.cfg")
    before = keyring.get_keyring()
    keyring.set_keyring(plaintext)
    yield keyring
    keyring.set_keyring(before)


def test_the_keyring(file_keyring):
    file_keyring.set_password("gitea/main", "alice", VALUE)
    assert read_source("keyring:gitea/main/alice", {}) == VALUE
    with pytest.raises(SourceError, match="keyring set gitea bob"):
        read_source("keyring:gitea/bob", {})


def test_a_keyring_that_fails_says_so_and_nothing_of_what_it_said(file_keyring, monkeypatch):
    from keyring.errors import KeyringLocked

    def locked(*_):
        raise KeyringLocked(VALUE)

    monkeypatch.setattr(file_keyring.get_keyring(), "get_password", locked)
    with pytest.raises(SourceError, match="unlock it") as refused:
        read_source("keyring:gitea/alice", {})
    assert VALUE not in str(refused.value)


def test_without_the_library_the_remedy_is_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SourceError, match=r"hermes-runtime\[keyring\]"):
        read_source("keyring:gitea/alice", {})

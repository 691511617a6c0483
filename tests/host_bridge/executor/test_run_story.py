"""What is known of a run is put together from where it lies, and nothing of another run gets into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bare_kernel import BareKernel, Host
from taped_sessions import call, end, session

from host_bridge import control
from host_bridge.cli import main
from host_bridge.executor.run_story import story_of
from host_bridge.runs import index
from host_bridge.runs.index import RunEntry
from host_bridge.tape.reader import TapeReader

RUN = "abcdef12"


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@contextmanager
def recorded_run(tmp_path: Path) -> Iterator[tuple[Host, BareKernel]]:
    """A session whose calls belong to a run; its log lies where logs lie."""
    folder = tmp_path / "state" / "hermes-runtime" / "audit"
    folder.mkdir(parents=True)
    orders = control.TapeOrders(path=str(tmp_path / "tape"), facts={"run_id": RUN})
    policy = (("test", 'version = 1\n[rules]\nallow = ["read_file", "write_file(./**)"]\nask = ["terminal"]\n'),)
    fields = {"run_id": RUN, "audit_path": str(folder / "log.jsonl"), "policy_texts": policy}
    with session(orders, **fields) as (host, kernel):
        yield host, kernel
        end(host)


def entry(tmp_path: Path, **fields: str) -> RunEntry:
    made = index.begin(RUN, notebook="/n.ipynb", output="", started="2026-11-03T10:15:00+00:00")
    made.state, made.tape = "succeeded", str(tmp_path / "tape")
    with TapeReader(made.tape) as tape:
        made.tape_root = tape.root()
    for name, value in fields.items():
        setattr(made, name, value)
    index.write(made)
    return made


def test_calls_their_sizes_what_was_asked_and_what_was_written(tmp_path: Path) -> None:
    with recorded_run(tmp_path) as (host, kernel):
        workspace = Path(host.config.workspace)
        (workspace / "old.md").write_text("before\n")
        assert kernel.call("write_file", path="old.md", bulk=("content",), contents=(b"after\n",)).code == "ok"
        assert kernel.call("write_file", path="new.md", bulk=("content",), contents=(b"new\n",)).code == "ok"
        assert call(kernel, "read_file", path="old.md").code == "ok"
        assert call(kernel, "terminal", command="true").code == "denied"
    story = story_of(entry(tmp_path))
    assert story.note == ""
    assert [one.row.tool for one in story.calls] == ["write_file", "write_file", "read_file", "terminal"]
    assert story.given[2] > 6  # the file's bytes, and what is told of them
    assert story.asked is not None
    assert [(one.decided.fields["tool"], one.decided.fields["effect"]) for one in story.asked] == [("terminal", "deny")]
    told = {Path(one.before.path).name: (one.text_before, one.text_after) for one in story.written}
    assert told == {"old.md": ("before\n", "after\n"), "new.md": ("", "new\n")}


def test_the_command_writes_a_page_that_others_can_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded_run(tmp_path) as (_, kernel):
        assert call(kernel, "terminal", command="echo '<b>'").code == "denied"
    entry(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "show", "last", "--html"]) == 0
    assert capsys.readouterr().out == "saved run-abcdef12.html\n"
    page = tmp_path / "run-abcdef12.html"
    assert "terminal echo &#x27;&lt;b&gt;&#x27;" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    assert main(["runs", "show", "last", "--html", "-"]) == 0
    assert capsys.readouterr().out == page.read_text()
    assert main(["runs", "show", "last", "--html", "-", "--json"]) == 2


def test_what_belongs_to_another_run_or_was_changed_is_said(tmp_path: Path) -> None:
    with recorded_run(tmp_path) as (_, kernel):
        call(kernel, "terminal", command="true")
    output = tmp_path / "out.ipynb"
    metadata = {"hermes": {"run": {"id": "another"}}}
    output.write_text(json.dumps({"cells": [], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    run = entry(tmp_path, output=str(output))
    assert story_of(run).document is None
    run.tape_root = "0" * 64
    assert "was changed since the run ended" in story_of(run).note
    run.run_id = "0123abcd"
    assert "is of another run" in story_of(run).note
    assert story_of(run).asked is None
    run.tape = ""
    assert "No calls can be shown" in story_of(run).note

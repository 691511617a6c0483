"""The review of a notebook that says what it needs: one page at the terminal, and an answer that counts for what was shown."""

from __future__ import annotations

import json
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from host_bridge.cli import main, prompter
from host_bridge.cli.review import review
from host_bridge.declarations.accepted import AcceptedDeclarations
from host_bridge.errors import DeclarationError
from host_bridge.provisioning.notebook import source_digest

CHOICES: dict[str, Any] = {
    **{"agent": "", "profile": "", "policies": (), "allow": (), "deny": ()},
    **{"workspace": None, "cwd": None},
}
NEEDS = {"allow": ["read_file(./data/**)", "web_extract(domain:python.org)"], "note": "see\x1b[2J the wiki"}


class Terminal:
    """A terminal with a person who answers each question they see."""

    def __init__(self) -> None:
        self.ours, self._theirs = os.openpty()
        self.path = os.ttyname(self._theirs)
        self.seen = ""

    def answering(self, *answers: str) -> threading.Thread:
        thread = threading.Thread(target=self._answer, args=answers, daemon=True)
        thread.start()
        return thread

    def _answer(self, *answers: str) -> None:
        for answer in answers:
            start = len(self.seen)
            while "don't run > " not in self.seen[start:]:
                assert select.select([self.ours], [], [], 20)[0], "no question came"
                self.seen += os.read(self.ours, 65_536).decode()
            os.write(self.ours, f"{answer}\n".encode())

    def close(self) -> None:
        os.close(self.ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HERMES_RUNTIME_PRINCIPAL", raising=False)
    monkeypatch.chdir(tmp_path)
    made = Terminal()
    monkeypatch.setattr(prompter, "TERMINAL", made.path)
    yield made
    made.close()


def notebook(permissions: Any = NEEDS, source: str = "1") -> str:
    metadata = {} if permissions is None else {"hermes": {"permissions": permissions}}
    nbformat.write(new_notebook(cells=[new_code_cell(source, id="a")], metadata=metadata), "n.ipynb")
    return source_digest(json.loads(Path("n.ipynb").read_text()))


def test_a_yes_is_remembered_for_this_source(terminal: Terminal) -> None:
    digest = notebook()
    terminal.answering("y")

    assert review("n.ipynb", CHOICES) == digest
    assert review("n.ipynb", CHOICES) == ""  # asked once: what is accepted is found by the session
    assert AcceptedDeclarations().is_accepted("default", digest)
    assert not AcceptedDeclarations().is_accepted("nightly", digest)
    shown = terminal.seen.replace("\r\n", "\n")
    assert "It may read ./data and all beneath it." in shown
    assert "It was never accepted before." in shown
    assert "see\\u{1b}[2J the wiki" in shown
    rows = {line.split("  ")[1]: line for line in shown.splitlines() if line.startswith("  ")}
    assert "allowed" in rows["read_file(./data/**)"]
    assert "asks" in rows["web_extract(domain:python.org)"]


def test_once_is_for_this_run_and_no_is_no_run(terminal: Terminal) -> None:
    digest = notebook()
    terminal.answering("o", "", "what?")

    assert review("n.ipynb", CHOICES) == digest
    for _ in range(2):
        with pytest.raises(DeclarationError, match="not accepted"):
            review("n.ipynb", CHOICES)
    assert AcceptedDeclarations().all() == ()


def test_a_changed_notebook_comes_again_and_says_what_changed(terminal: Terminal) -> None:
    notebook()
    terminal.answering("y", "y", "y", "n")
    review("n.ipynb", CHOICES)

    notebook(source="2")
    review("n.ipynb", CHOICES)
    assert "Its cells have changed." in terminal.seen
    notebook({"allow": [*NEEDS["allow"], "terminal(git push *)"]}, source="2")
    review("n.ipynb", CHOICES)
    assert "NEW: it could run `git push *`" in terminal.seen
    notebook(None, source="2")
    with pytest.raises(DeclarationError):
        review("n.ipynb", CHOICES)
    assert "EVERYTHING THE POLICY ALLOWS" in terminal.seen


def test_nobody_is_asked_about_a_notebook_that_never_declared_anything_or_is_trusted(terminal: Terminal) -> None:
    notebook(None)
    assert review("n.ipynb", CHOICES) == ""
    assert review("-", CHOICES) == ""
    notebook()
    Path("config/hermes-runtime").mkdir(parents=True)
    Path("config/hermes-runtime/config.toml").write_text(f'[declarations]\ntrusted_paths = ["{Path.cwd()}"]\n')
    assert review("n.ipynb", CHOICES) == ""
    assert terminal.seen == ""


def test_no_answer_in_time_is_no_run(terminal: Terminal) -> None:
    notebook()
    Path("config/hermes-runtime").mkdir(parents=True)
    Path("config/hermes-runtime/config.toml").write_text("[session]\nask_timeout_seconds = 0.2\n")

    with pytest.raises(DeclarationError, match="not accepted"):
        review("n.ipynb", CHOICES)


def test_without_a_terminal_there_is_no_review(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook()
    monkeypatch.setattr(prompter, "TERMINAL", "/dev/nowhere")

    assert review("n.ipynb", CHOICES) == ""


def test_a_run_that_is_refused_at_the_review_has_an_exit_code_of_its_own(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook()
    terminal.answering("n")

    assert main(["run", "n.ipynb", "out.ipynb", "--ask"]) == 3
    assert "was not run" in capsys.readouterr().err
    assert not Path("out.ipynb").exists()

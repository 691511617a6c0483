"""`hermes-runtime permissions`: what notebooks declare, learned, shown, compared, accepted."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from host_bridge.audit.log import AuditLog
from host_bridge.audit.records import CallDecided, CallSettled, SessionOpened
from host_bridge.cli import main
from host_bridge.provisioning.notebook import source_digest


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("state", "config", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HERMES_RUNTIME_PRINCIPAL", raising=False)
    monkeypatch.chdir(tmp_path / "work")


def notebook(name: str, permissions: Any = None, source: str = "1") -> Path:
    metadata = {} if permissions is None else {"hermes": {"permissions": permissions}}
    path = Path(name)
    nbformat.write(new_notebook(cells=[new_code_cell(source, id="a")], metadata=metadata), path)
    return path


def logged(path: Path, *calls: tuple[str, dict[str, Any]], denied: int = 0, session: str = "s1") -> Path:
    """Write the log of a run of a notebook, as a session would."""
    folder = Path("../state/hermes-runtime/audit")
    folder.mkdir(parents=True, exist_ok=True)
    log = AuditLog.open(folder / f"{session}.jsonl", secrets=("hunter2-hunter2",))
    log.append(
        SessionOpened(
            session_id=session,
            principal="default",
            profile="workspace",
            workspace=str(Path.cwd()),
            notebook=str(path.absolute()),
            notebook_digest=source_digest(json.loads(path.read_text())),
            run_id="r1",
        )
    )
    for number, (tool, arguments) in enumerate(calls):
        effect = "allow" if number < len(calls) - denied else "deny"
        common = {"call_id": f"{session}-{number}", "session_id": session, "principal": "default"}
        log.append(CallDecided(**common, tool=tool, effect=effect, arguments=arguments))
        if effect == "allow":
            log.append(CallSettled(call_id=common["call_id"], outcome="ok", result_bytes=10))
    log.close()
    return folder / f"{session}.jsonl"


CALLS = (
    ("read_file", {"path": "data/a.csv", "unit": "lines"}),
    ("read_file", {"path": "data/b.csv", "unit": "lines"}),
    ("read_file", {"path": "data/c.csv", "unit": "lines"}),
    ("read_file", {"path": "/etc/hostname", "unit": "lines"}),
    ("terminal", {"command": "git status; head -n 5 x", "workdir": "/w"}),
    ("patch", {"mode": "patch", "files": [{"action": "move", "paths": ["x", "y"]}], "patch": "…"}),
    ("web_extract", {"urls": ["https://docs.python.org/3/"], "char_limit": 10}),
    ("list_files", {"path": ".", "recursive": False}),
    ("terminal", {"command": "rm -rf x", "workdir": "/w"}),
)
LEARNED = [
    "list_files(.)",
    "patch(./x)",
    "patch(./y)",
    "read_file(./data/*.csv)",
    "read_file(/etc/hostname)",
    "terminal(git status)",
    "terminal(head -n 5 x)",
    "web_extract(domain:docs.python.org)",
]


@pytest.mark.parametrize("named", ["s1", "r1", "../state/hermes-runtime/audit/s1.jsonl", "out.ipynb"])
def test_a_run_is_learned_from_by_any_of_its_names(named: str, capsys: pytest.CaptureFixture[str]) -> None:
    logged(notebook("in.ipynb"), *CALLS, denied=1)
    nbformat.write(new_notebook(metadata={"hermes": {"run": {"session_id": "s1"}}}), "out.ipynb")

    assert main(["permissions", "learn", named, "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["permissions"] == {"allow": LEARNED, "budgets": {"calls": 14, "bytes": 2**20}}
    assert told["generalised"] == [{"rule": "read_file(./data/*.csv)", "seen": 3}]
    assert (told["calls"], told["denied"], told["unlearned"], told["written"]) == (8, 1, [], None)


def test_what_the_log_does_not_hold_is_told_and_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    log = logged(
        notebook("in.ipynb"),
        ("terminal", {"command": "curl -u me:hunter2-hunter2 x", "workdir": "/w"}),
        ("terminal", {"command": "echo " + "a" * 5000, "workdir": "/w"}),
        ("read_file", {"path": "ok"}),
    )

    assert main(["permissions", "learn", str(log)]) == 0

    out, err = capsys.readouterr()
    assert json.loads(out)["hermes"]["permissions"]["allow"] == ["read_file(./ok)"]
    assert "held a secret" in err
    assert "longer than the log keeps" in err
    assert "hunter2" not in out + err


def test_a_declaration_is_written_and_nothing_else_of_the_notebook_changes() -> None:
    path = notebook("in.ipynb", {"deny": ["terminal(rm *)"], "note": "mine"}, source="x = '€'\nprint(x)")
    before = json.loads(path.read_text())
    text = path.read_text()
    logged(path, *CALLS, denied=1)

    assert main(["permissions", "learn", "s1", "--write"]) == 0

    after = json.loads(path.read_text())
    assert after["metadata"]["hermes"].pop("permissions") == {
        "allow": LEARNED,
        "budgets": {"calls": 14, "bytes": 2**20},
        "deny": ["terminal(rm *)"],
        "note": "mine",
    }
    before["metadata"]["hermes"].pop("permissions")
    assert after == before
    assert path.read_text().partition('"metadata": {\n  "hermes"')[0] == text.partition('"metadata": {\n  "hermes"')[0]


def test_a_notebook_that_is_not_the_one_that_ran_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logged(notebook("in.ipynb"), *CALLS)
    changed = notebook("in.ipynb", source="2").read_bytes()

    assert main(["permissions", "learn", "s1", "--write"]) == 2
    assert "has changed since that run" in capsys.readouterr().err
    assert Path("in.ipynb").read_bytes() == changed

    assert main(["permissions", "learn", "s1", "--write", "--force"]) == 0
    assert "permissions" in Path("in.ipynb").read_text()


@pytest.mark.parametrize("named", ["nowhere", "nowhere.ipynb", "in.ipynb", "./in.ipynb.log"])
def test_a_run_that_can_not_be_found_is_said(named: str, capsys: pytest.CaptureFixture[str]) -> None:
    notebook("in.ipynb")

    assert main(["permissions", "learn", named]) in (2, 6)
    assert named.removeprefix("./") in capsys.readouterr().err


def test_show_says_what_is_declared_and_how_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    path = notebook(
        "in.ipynb",
        {
            "allow": ["read_file(./data/**)", "terminal(make test)", "web_extract(domain:*.python.org)", "terminal"],
            "deny": ["write_file"],
            "budgets": {"calls": 200},
            "note": "the nightly\x1b[2J report",
        },
    )

    assert main(["permissions", "show", str(path)]) == 0

    out = capsys.readouterr().out
    assert "It may read ./data and all beneath it." in out
    assert "It may run any command line at all" in out
    assert "It may never write anything." in out
    assert "It may use up to 200 calls." in out
    assert "nightly\\u{1b}[2J report" in out
    rows = {line.split("  ")[1]: line for line in out.splitlines() if line.startswith("  ")}
    assert "allowed" in rows["read_file(./data/**)"]
    assert "denied" in rows["terminal(make test)"]
    assert "denied" in rows["terminal"]
    assert "asks" in rows["web_extract(domain:*.python.org)"]


def test_show_names_the_layer_that_denies(capsys: pytest.CaptureFixture[str]) -> None:
    Path("hermes.toml").write_text('version = 1\n[rules]\ndeny = ["read_file(./data/**)"]\n')
    notebook("in.ipynb", {"allow": ["read_file(./data/x.csv)"]})

    assert main(["permissions", "show", "in.ipynb", "--json"]) == 0

    (rule,) = json.loads(capsys.readouterr().out)["rules"]
    assert rule == {
        "rule": "read_file(./data/x.csv)",
        "clause": "allow",
        "effect": "deny",
        "by": "project: read_file(./data/**)",
        "wholly": True,
    }


@pytest.mark.parametrize(
    ("before", "after", "code", "told"),
    [
        ({"allow": ["read_file(./**)"]}, {"allow": ["read_file(./a)"]}, 0, "no longer: read . and all beneath it"),
        (
            {"allow": ["terminal(ls)"]},
            {"allow": ["terminal(ls)", "terminal(git push)"]},
            1,
            "NEW: it could run `git push`",
        ),
        ({"allow": []}, None, 1, "EVERYTHING THE POLICY ALLOWS"),
        (None, {"allow": ["terminal"]}, 0, "now declares what it needs"),
        ({"budgets": {"calls": 5}}, {"budgets": {"calls": 6}}, 1, "higher budget: calls from 5 to 6"),
        ({}, {}, 0, "unchanged"),
        ({}, {"alow": []}, 2, ""),
    ],
)
def test_diff_is_about_authority_and_its_exit_code_says_whether_any_was_gained(
    before: Any, after: Any, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook("a.ipynb", before)
    notebook("b.ipynb", after)

    assert main(["permissions", "diff", "a.ipynb", "b.ipynb"]) == code
    assert told in capsys.readouterr().out


def test_versions_come_from_git_and_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = notebook("n.ipynb", {"allow": ["terminal(ls)"]})
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "n.ipynb"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True, timeout=30)
    text = path.read_text()
    notebook("n.ipynb", {"allow": ["terminal(ls)", "terminal(ls -l)"]})

    assert main(["permissions", "diff", "HEAD:n.ipynb", "n.ipynb", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["gained"] == [
        {"how": "allowed", "rule": "terminal(ls -l)", "before": ""}
    ]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["permissions", "diff", "n.ipynb", "-"]) == 0
    assert main(["permissions", "diff", "HEAD:nowhere.ipynb", "n.ipynb"]) == 2
    assert main(["permissions", "diff", "--", "--output=x:y", "n.ipynb"]) == 2
    assert not Path("x:y").exists()


def test_a_notebook_is_accepted_for_its_source_listed_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    path = notebook("in.ipynb", {"allow": ["terminal(ls)"]})
    assert main(["permissions", "accept", "in.ipynb", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    notebook("in.ipynb", {"allow": ["terminal(ls)", "terminal(git push)"]}, source="2")
    assert main(["permissions", "accept", "in.ipynb"]) == 0
    assert "NEW: it could run `git push`" in capsys.readouterr().out

    assert main(["permissions", "accepted", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["notebook"] for one in listed] == [str(path.absolute())] * 2
    assert listed[1]["digest"] == first["digest"]

    assert main(["permissions", "revoke", first["digest"][:12]]) == 0
    assert main(["permissions", "revoke", "in.ipynb"]) == 0
    assert main(["permissions", "revoke", "in.ipynb"]) == 1
    assert main(["permissions", "accepted"]) == 0
    assert "nothing was accepted" in capsys.readouterr().err


def test_policy_explain_knows_what_was_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    notebook("in.ipynb", {"allow": ["web_search(snow)"]})
    explain = ["policy", "explain", "web_search", "snow", "--notebook", "in.ipynb", "--json"]

    assert main(explain) == 3
    assert json.loads(capsys.readouterr().out)["effect"] == "ask"
    assert main(["permissions", "accept", "in.ipynb", "--json"]) == 0
    capsys.readouterr()
    assert main(explain) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rule_id"] == "accepted:metadata.hermes.permissions.allow[0]"
    assert told["trails"][0]["steps"][-1]["layer"] == "accepted"

    # Its word is there too where it changes nothing, and its rules are among those in force.
    assert main([*explain[:3], "rain", *explain[4:]]) == 3
    step = {"layer": "accepted", "effect": None, "rule_id": "", "rule": ""}
    assert json.loads(capsys.readouterr().out)["trails"][0]["steps"][-1] == step
    assert main(["policy", "show", "--notebook", "in.ipynb"]) == 0
    assert "accepted:metadata.hermes.permissions.allow[0]" in capsys.readouterr().out


def test_what_can_not_be_meant_is_neither_accepted_nor_shown_nor_compared(capsys: pytest.CaptureFixture[str]) -> None:
    notebook("in.ipynb", {"budgets": {"cals": 1}})

    assert main(["permissions", "accept", "in.ipynb"]) == 2
    assert "cals" in capsys.readouterr().err
    for command in (["show", "in.ipynb"], ["diff", "in.ipynb", "in.ipynb"]):
        assert main(["permissions", *command]) == 2, command
        assert "cals" in capsys.readouterr().err

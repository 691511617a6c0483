"""The policy as a person keeps it: start a file, add rules, see what they come to; what a denial recommends works."""

from __future__ import annotations

import json
import shlex
import stat
from pathlib import Path

import pytest

import host_bridge.policy
from host_bridge.audit.log import AuditLog
from host_bridge.audit.records import CallDecided, SessionOpened
from host_bridge.cli import main
from host_bridge.policy.loading import check


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("host_bridge.provisioning.session_config.SYSTEM_POLICY", tmp_path / "etc" / "policy.toml")
    return tmp_path


@pytest.fixture
def mine(home: Path) -> Path:
    return home / "config" / "hermes-runtime" / "policy.toml"


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["policy", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.out + captured.err


def test_a_file_to_start_from_loads_and_is_never_overwritten(
    home: Path, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"--user": mine, "--project": Path("hermes.toml"), "--system": home / "etc" / "policy.toml"}
    for option, file in files.items():
        told(capsys, "init", option)
        assert check(str(file)).rules == ()
        file.write_text(file.read_text() + "# mine\n")
        assert "left as it is" in told(capsys, "init", option, code=2)
        assert file.read_text().endswith("# mine\n")
    assert stat.S_IMODE(mine.stat().st_mode) == 0o600
    assert stat.S_IMODE(Path("hermes.toml").stat().st_mode) == 0o644
    assert told(capsys, "check").count("0 rules") == 3


@pytest.mark.parametrize("layer", ["user", "project", "system"])
def test_what_a_starting_file_shows_in_its_comments_works(layer: str, tmp_path: Path) -> None:
    lines = Path(host_bridge.policy.__file__).with_name("starting").joinpath(f"{layer}.toml").read_text().splitlines()
    examples = ("[", "allow =", "brake", "call =", "expect =", '"')
    bare = [line.lstrip().removeprefix("# ") for line in lines]
    text = "\n".join(one if one.startswith(examples) else line for one, line in zip(bare, lines, strict=True))
    file = tmp_path / "shown.toml"
    file.write_text(text)
    checked = check(str(file), layer=layer)
    assert checked.rules
    assert checked.tests


def test_a_rule_is_allowed_denied_and_taken_back(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "init")
    before = mine.read_text()
    told(capsys, "explain", "terminal", "git push", code=3)
    told(capsys, "allow", "terminal(git push *)")
    assert "user:rules.allow[0]" in told(capsys, "explain", "terminal", "git push")
    assert "user:rules.allow[0]" in told(capsys, "explain", "terminal(git push)"), "written as rules and tests are"
    assert "has it already" in told(capsys, "allow", "terminal(git push *)")
    assert "stood in allow" in told(capsys, "deny", "terminal(git push *)")
    assert "user:rules.deny[0]" in told(capsys, "explain", "terminal", "git push", code=3)
    told(capsys, "deny", "--remove", "terminal(git push *)")
    assert "there is no rule" in told(capsys, "deny", "--remove", "terminal(git push *)", code=2)
    assert mine.read_text() == before


def test_a_rule_for_an_agent_is_for_that_agent(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "allow", "--agent", "nightly", "terminal(git push *)")
    assert mine.read_text() == 'version = 1\n\n[agents.nightly.rules]\nallow = ["terminal(git push *)"]\n'
    told(capsys, "explain", "terminal", "git push", code=3)
    told(capsys, "explain", "terminal", "git push", "--agent", "nightly")


def test_a_project_takes_away(capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "explain", "write_file", "x")
    told(capsys, "ask", "--project", "write_file(./**)")
    assert "project:rules.ask[0]" in told(capsys, "explain", "write_file", "x", code=3)
    assert "takes away" in told(capsys, "allow", "--project", "--after-untrusted", "web_search", code=2)


def test_what_a_rule_would_break_is_not_written(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine.parent.mkdir(parents=True)
    mine.write_text('version = 1\n[[tests]]\ncall = "terminal(git push)"\nexpect = "deny"\n')
    before = mine.read_text()
    assert "tests[0].call" in told(capsys, "allow", "terminal(git push *)", code=2)
    assert "did you mean read_file" in told(capsys, "allow", "raed_file(./x)", code=2)
    assert mine.read_text() == before
    assert "1 test passed" in told(capsys, "check")


def test_the_file_that_has_a_rule_is_the_one_it_is_taken_out_of(
    home: Path, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = home / "other.toml"
    other.write_text('version = 1\n[rules]\ndeny = ["web_search"]\n')
    mine.parent.mkdir(parents=True)
    mine.with_name("config.toml").write_text(f"[policy]\nfiles = [{str(other)!r}]\n")
    told(capsys, "allow", "mine", "--file", str(home / "third.toml"), code=2)  # no such tool
    told(capsys, "deny", "--remove", "web_search")
    assert check(str(other)).rules == ()


def test_what_a_denial_recommends_makes_it_an_allow(capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "ask", "terminal(git *)")
    told(capsys, "deny", "--project", "terminal(git push *)")
    said = json.loads(
        told(capsys, "explain", "terminal", "git push origin 'a b'", "--json", code=3).partition("\nhermes")[0]
    )
    commands = said["remedy"].split(" && ")
    assert len(commands) == 3
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
    capsys.readouterr()
    told(capsys, "explain", "terminal", "git push origin 'a b'")


def test_an_explanation_supposes_untrusted_content_and_a_narrowing(capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "explain", "terminal", "df -h", "--after-untrusted", "--narrow", "terminal(df *)")
    said = told(capsys, "explain", "write_file", "x", "--after-untrusted", code=3)
    assert said.startswith("ASK: ")
    assert "[taint:brake]" in said
    assert "policy allow --after-untrusted 'write_file(./x)'" in said
    told(capsys, "allow", "--after-untrusted", "write_file(./x)")
    told(capsys, "explain", "write_file", "x", "--after-untrusted")
    said = told(capsys, "explain", "write_file", "x", "--narrow", "read_file", "--narrow", "terminal(ls)", code=3)
    assert "[narrow:default]" in said
    assert "read_file, terminal(ls)" in said
    assert "narrow[0]" in told(capsys, "explain", "write_file", "x", "--narrow", "x y", code=2)


def test_what_is_shown_says_what_holds_after_untrusted_content(capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, "show")
    assert "acting asks first" in shown
    (line,) = [line for line in shown.splitlines() if "terminal(uptime *)" in line]
    assert line.endswith("after untrusted content too")
    rules = json.loads(told(capsys, "show", "--json"))["rules"]
    assert {rule["text"]: rule["after_untrusted"] for rule in rules}["write_file(./**)"] is False


@pytest.fixture
def log(home: Path) -> Path:
    folder = home / "state" / "hermes-runtime" / "audit"
    folder.mkdir(parents=True)
    path = folder / "s1.jsonl"
    log = AuditLog.open(path)
    log.append(SessionOpened(session_id="s1", principal="bot", profile="workspace", workspace=str(Path.cwd())))
    calls = [
        ("terminal", {"command": "git push origin main", "workdir": str(Path.cwd())}, "deny", "default"),
        ("terminal", {"command": "df -h", "workdir": str(Path.cwd())}, "allow", "profile workspace:rules.allow[0]"),
        ("read_file", {"path": "private/x"}, "allow", "profile workspace:rules.allow[0]"),
        ("read_file", None, "allow", "profile workspace:rules.allow[0]"),
    ]
    for number, (tool, arguments, effect, rule_id) in enumerate(calls * 2):
        record = CallDecided(
            call_id=f"s1-{number}",
            session_id="s1",
            principal="bot",
            tool=tool,
            arguments=arguments,
            effect=effect,
            rule_id=rule_id,
        )
        log.append(record)
    log.close()
    return path


NEW = 'version = 1\n[rules]\nallow = ["terminal(git push *)"]\ndeny = ["read_file(./private/**)"]\n'


def test_a_policy_is_tried_on_the_calls_of_the_past(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.toml").write_text(NEW)
    for options in ([], ["--audit", str(log)], ["--audit", "s1"], ["--agent", "bot"]):
        said = told(capsys, "test", "new.toml", *options, code=1)
        assert "2 calls left out: its arguments were not kept" in said
        assert "6 calls tried, 4 with another answer: 2 let through that were not, 2 no longer" in said
        assert "2x  deny -> allow  terminal git push origin main  default -> user:rules.allow[0]" in said
    assert "0 calls tried: every answer stays" in told(capsys, "test", "new.toml", "--agent", "other")
    before = log.read_bytes()
    outcome = json.loads(told(capsys, "test", "new.toml", "--json", code=1).strip())
    assert [(change["calls"], change["widens"]) for change in outcome["changes"]] == [(2, True), (2, False)]
    assert log.read_bytes() == before


def test_a_policy_that_says_the_same_changes_nothing(log: Path, mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "allow", "terminal(git push *)")  # what is in force doesn't count: the new file takes its place
    Path("new.toml").write_text("version = 1\n")
    assert "every answer stays" in told(capsys, "test", "new.toml")


def test_a_projects_file_is_tried_as_one(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("draft")
    folder.mkdir()
    (folder / "hermes.toml").write_text(NEW)
    said = told(capsys, "test", str(folder / "hermes.toml"), code=1)
    assert "0 let through" in said
    assert "project:rules.deny[0]" in said


def test_a_policy_that_can_not_be_used_is_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.toml").write_text("version = 1\n[rules]\nalow = []\n")
    assert "rules.alow" in told(capsys, "test", "new.toml", code=2)
    assert "no such" in told(capsys, "test", "missing.toml", code=2)
    Path("new.toml").write_text("version = 1\n")
    assert "no audit log" in told(capsys, "test", "new.toml", "--audit", "nothing", code=6)


def test_a_request_is_explained_by_its_method_and_what_is_recommended_works(capsys, mine):
    told(capsys, "explain", "http_request", "GET https://api.example.org/v1", code=3)
    said = told(capsys, "explain", "http_request", "POST https://api.example.org/v1", "--json", code=3)
    remedy = json.loads(said.partition("\nhermes")[0])["remedy"]
    assert remedy == "hermes-runtime policy allow 'http_request(POST domain:api.example.org)'"
    told(capsys, *shlex.split(remedy)[2:])
    assert "user:rules.allow[0]" in told(capsys, "explain", "http_request", "POST https://api.example.org/v1")
    told(capsys, "explain", "http_request", "https://api.example.org/v1", code=3)
    told(capsys, "explain", "http_request", "FETCH https://api.example.org/v1", code=1)


def test_arguments_that_do_not_fit_are_told_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "explain", "read_file", "a", "unit=pages", code=2)
    assert "read_file: `unit` must be 'lines' or 'bytes', not 'pages'" in said

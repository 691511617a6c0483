"""Notebooks whose runs are recorded, replayed without tools, and resumed where they ended."""

from __future__ import annotations

import json

import pytest
from kernel_machine import Machine
from notebook_runs import Runner

from host_bridge.errors import TapeError
from host_bridge.runs import index
from host_bridge.tape.reader import TapeReader

ALLOW = '[rules]\nallow = ["terminal"]\n'


@pytest.fixture
def runner(machine: Machine) -> Runner:
    return Runner(machine.workspace, "hermes")


@pytest.fixture
def again(machine: Machine) -> Runner:
    """The same notebook, to another output."""
    other = Runner(machine.workspace, "hermes")
    other.output = machine.workspace / "again.ipynb"
    return other


def test_a_run_leaves_a_tape_beside_its_output_and_replays_without_what_it_read(
    runner: Runner, again: Runner, machine: Machine
) -> None:
    cells = (
        "from concurrent.futures import ThreadPoolExecutor\nimport asyncio",
        "text = hermes.read_file('greeting.txt')\nprint(text)",
        "names = [f'{n}.txt' for n in range(40)]\n"
        "with ThreadPoolExecutor(8) as pool:\n    parts = list(pool.map(hermes.read_file, names))",
        "more = await asyncio.gather(*map(hermes.aio.read_file, names))\nprint(parts == more, ''.join(parts))",
        "try:\n    hermes.web_extract(['https://example.com/'])\n"
        "except PermissionError as error:\n    print('denied', error.rule_id)",
        "print(hermes.terminal('echo one; echo two >&2').stdout)",
    )
    (machine.workspace / "greeting.txt").write_text("hello")
    for number in range(40):
        (machine.workspace / f"{number}.txt").write_text(f"<{number}>")
    result = runner.run(*cells, metadata={}, policy_rules=ALLOW)
    assert result["status"] == "success", result["error"]
    tape = machine.workspace / "out.tape"
    assert tape.stat().st_mode & 0o777 == 0o600
    with TapeReader(str(tape)) as reader:
        assert result["tape"]["root"] == reader.root() == runner.run_metadata["tape"]["root"]
        assert len(reader.calls()) == 83
    assert runner.run_metadata["tape"]["file"] == "out.tape"
    assert {"source_digest", "parameters_digest", "policy_digest", "environment", "versions"} <= set(result["tape"])

    for path in machine.workspace.glob("*.txt"):
        path.unlink()
    replayed = again.run(*cells, replay=tape)
    assert replayed["status"] == "success", replayed["error"]
    assert [again.text(index) for index in range(6)] == [runner.text(index) for index in range(6)]
    entry = index.find(replayed["run_id"])
    assert (entry.shown_state, entry.mode, entry.tape) == (
        "succeeded",
        "replay",
        str(again.output.with_suffix(".tape")),
    )
    machine.wait_until_clean()


def test_a_replay_that_differs_fails_and_says_where_even_if_the_cell_hides_it(
    runner: Runner, again: Runner, machine: Machine
) -> None:
    runner.run("1", "x = 1\nhermes.terminal('echo one')")
    result = again.run(
        "1",
        "x = 1\ntry:\n    hermes.terminal('echo two')\nexcept Exception:\n    pass",
        replay=runner.folder / "out.tape",
    )
    assert result["state"] == "failed"
    for word in ("cell 1", "line 3", "echo one", "echo two"):
        assert word in result["error"]
    assert any("changed since the tape" in warning for warning in result["warnings"])


def test_a_denied_run_resumes_at_the_denied_cell_and_does_nothing_twice(
    runner: Runner, again: Runner, machine: Machine
) -> None:
    log = machine.workspace / "log"
    cells = (
        "count = hermes.terminal('echo first >> log; wc -l < log').stdout.strip()",
        "hermes.terminal('echo second >> log')\nhermes.web_extract(['https://127.0.0.1:9/'])",
        "print(count)",
    )
    rules = '[rules]\nallow = [{ rule = "terminal", allow_after_untrusted = true }]\ndeny = ["web_extract"]\n'
    denied = runner.run(*cells, policy_rules=rules)
    assert denied["state"] == "denied"
    assert log.read_text() == "first\nsecond\n"
    fixed = (cells[0], "hermes.terminal('echo second >> log')", cells[2])
    resumed = again.run(*fixed, resume=denied["run_id"], policy_rules=rules)
    assert resumed["status"] == "success", resumed["error"]
    assert again.text(2) == "1\n"
    assert log.read_text() == "first\nsecond\n"
    assert index.find(resumed["run_id"]).resumes == denied["run_id"]

    third = Runner(machine.workspace, "hermes")
    third.output = machine.workspace / "third.ipynb"
    assert third.run(*fixed, replay=again.output.with_suffix(".tape"))["status"] == "success"
    assert log.read_text() == "first\nsecond\n"


def test_a_run_that_went_on_after_a_failure_resumes_at_the_first_cell_that_failed(
    runner: Runner, again: Runner, machine: Machine
) -> None:
    cells = ("hermes.terminal('echo first >> log')\n1 / 0", "hermes.terminal('echo second >> log')")
    failed = runner.run(*cells, policy_rules=ALLOW, allow_errors=True)
    assert (failed["state"], failed["cells_executed"]) == ("failed", 2)
    fixed = ("hermes.terminal('echo first >> log')\nhermes.terminal('echo fixed >> log')", cells[1])
    resumed = again.run(*fixed, policy_rules=ALLOW, resume=failed["run_id"])
    assert resumed["status"] == "success", resumed["error"]
    assert (machine.workspace / "log").read_text() == "first\nsecond\nfixed\n"


def test_resume_refuses_what_has_changed_and_names_it(runner: Runner, again: Runner) -> None:
    failed = runner.run("#md text", "a = 1", "b = 2", "1 / 0")
    with pytest.raises(TapeError, match=r"cell 2 .* changed since"):
        again.run("#md text", "a = 1", "b = 3", "1", resume=failed["run_id"])
    with pytest.raises(TapeError, match="other parameters than then: a"):
        again.run(
            "#md text",
            "a = 1",
            "b = 2",
            "1",
            resume=failed["run_id"],
            parameters={"a": 5},
            allow_unknown_parameters=True,
        )
    done = again.run("1")
    with pytest.raises(TapeError, match="nothing to resume"):
        again.run("1", resume=done["run_id"])


def test_no_tape_when_none_is_wanted(runner: Runner, machine: Machine) -> None:
    result = runner.run("hermes.list_files()", record_tape=False)
    assert (result["status"], result["tape"]) == ("success", {})
    assert not (machine.workspace / "out.tape").exists()
    assert json.loads((index.runs_folder() / result["run_id"] / "run.json").read_text())["state"] == "succeeded"


def test_a_plan_says_what_a_run_would_do_and_applying_it_does_that_or_nothing(runner: Runner, machine: Machine) -> None:
    cells = (
        "limit = int(hermes.read_file('limit.txt'))",
        "hermes.write_file('report.txt', f'over {limit}')\nprint(hermes.read_file('report.txt'))",
    )
    (machine.workspace / "limit.txt").write_text("5")
    plan = machine.workspace / "plan.json"
    tried = runner.run(*cells, plan=plan)
    assert tried["status"] == "success", tried["error"]
    assert runner.text(1) == "over 5\n"
    assert not (machine.workspace / "report.txt").exists()
    assert not (machine.workspace / "out.tape").exists()
    assert len(tried["plan"]["effects"]) == 1

    (machine.workspace / "limit.txt").write_text("6")
    with pytest.raises(TapeError, match=r"nothing was done: no longer: cell 1, line 1: write_file.*new: cell 1"):
        runner.run(*cells, apply=plan)
    assert not (machine.workspace / "report.txt").exists()
    (machine.workspace / "limit.txt").write_text("5")
    assert runner.run(*cells, apply=plan)["status"] == "success"
    assert (machine.workspace / "report.txt").read_text() == "over 5"

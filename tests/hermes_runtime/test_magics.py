"""The magics in a real kernel, with a fake host behind the tools."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kernel_process import KernelProcess

from hermes_runtime.testing import Command, FakeHost


def terminal(command: str, call: Any = None, **_: Any) -> Any:
    if command.startswith("sleep"):
        call.emit("stdout", b"begun\n")
        call.wait_cancelled(20)
        return ""
    if command.startswith("fail"):
        return Command(stdout="some\n", stderr="went wrong\n", exit_code=3)
    for line in command.splitlines():
        call.emit("stdout", f"{line}\n".encode())
    return Command(stderr="done\n")


def shout(text: str) -> str:
    """Give text in capitals."""
    return text.upper()


@pytest.fixture(scope="module")
def host() -> Iterator[FakeHost]:
    with FakeHost({"terminal": terminal, "shout": shout}, budgets={"calls": (3, 100)}, principal="amy") as host:
        yield host


@pytest.fixture(scope="module")
def kernel(host: FakeHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    with KernelProcess(tmp_path_factory.mktemp("kernel"), environment=host.environment()) as running:
        yield running


# %%terminal ------------------------------------------------------------------------------------------------------------


def test_the_body_is_the_command_and_its_output_is_the_cells(kernel: KernelProcess, host: FakeHost) -> None:
    ran = kernel.run("%%terminal\nline one $HOME {x}\n  line 'two'\n")
    assert (ran.status, ran.stdout, ran.stderr) == ("ok", "line one $HOME {x}\n  line 'two'\n", "done\n")
    assert host.calls[-1].arguments["command"] == "line one $HOME {x}\n  line 'two'"
    assert "execute_result" not in ran.kinds


def test_output_appears_while_the_command_runs_and_an_interrupt_ends_it(kernel: KernelProcess, host: FakeHost) -> None:
    cell = kernel.start("%%terminal\nsleep")
    kernel.wait_for_output(cell, "begun")
    began = time.monotonic()
    kernel.interrupt()
    assert kernel.client._recv_reply(cell, timeout=20)["content"]["ename"] == "KeyboardInterrupt"
    assert time.monotonic() - began < 5
    assert host.calls[-1].wait_cancelled(5)
    assert kernel.run("%%terminal\nnext").stdout == "next\n"


def test_options_reach_the_tool_and_take_the_notebooks_variables(kernel: KernelProcess, host: FakeHost) -> None:
    ran = kernel.run("folder = 'sub'\nseconds = 7.5")
    ran = kernel.run("%%terminal --timeout {seconds} --workdir $folder\necho")
    assert ran.status == "ok", ran.error
    assert host.calls[-1].arguments["timeout"] == 7.5
    assert host.calls[-1].arguments["workdir"] == "sub"


def test_the_result_can_be_kept_and_shown_nowhere(kernel: KernelProcess) -> None:
    ran = kernel.run("%%terminal --quiet --out kept\nhello")
    assert (ran.status, ran.stdout, ran.stderr) == ("ok", "", "")
    assert kernel.run("kept.stdout, kept.stderr, kept.exit_code").result == "('hello\\n', 'done\\n', 0)"


def test_a_command_that_fails_fails_the_cell_unless_told_otherwise(kernel: KernelProcess) -> None:
    ran = kernel.run("%%terminal --out failed\nfail")
    assert ran.error.startswith("ToolCommandError: the command ended with exit code 3: fail")
    assert "went wrong" in ran.stderr
    assert kernel.run("failed.exit_code").result == "3"
    assert kernel.run("%%terminal --no-check\nfail").status == "ok"


def test_a_command_that_takes_too_long_keeps_what_there_was(kernel: KernelProcess) -> None:
    ran = kernel.run("%%terminal --timeout 0.3 --out partial\nsleep")
    assert ran.error.startswith("ToolTimeoutError: ")
    assert kernel.run("partial.stdout").result == "'begun\\n'"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("%%terminal\n\n  \n", "the body of the cell is the command"),
        ("%%terminal --out 1x\nls", "--out takes the name of a variable"),
        ("%%terminal --timeout soon\nls", "invalid float value"),
        ("%%terminal --loud\nls", "unrecognized arguments"),
    ],
)
def test_a_mistake_in_the_options_is_said_and_nothing_runs(
    kernel: KernelProcess, host: FakeHost, code: str, message: str
) -> None:
    before = len(host.calls)
    ran = kernel.run(code)
    assert ran.status == "error"
    assert message in ran.error + ran.stderr
    assert len(host.calls) == before


# %hermes ---------------------------------------------------------------------------------------------------------------


def test_hermes_shows_the_session_its_tools_and_its_budget(kernel: KernelProcess) -> None:
    assert "amy" in kernel.run("%hermes").result
    status = kernel.run("%hermes status").result
    assert all(word in status for word in ("amy", "fake", "/workspace"))
    tools = kernel.run("%hermes tools").result
    assert "shout" in tools
    assert "Give text in capitals." in tools
    assert re.search(r"calls\s+3(\.0)?\s+100", kernel.run("%hermes budget").result)
    assert "%%terminal" in kernel.run("%hermes help").stdout


def test_what_hermes_shows_can_be_assigned(kernel: KernelProcess) -> None:
    assert kernel.run("session = %hermes status\nsession.principal").result == "'amy'"


def test_an_unknown_subcommand_names_the_known_ones(kernel: KernelProcess) -> None:
    ran = kernel.run("%hermes stauts")
    assert ran.status == "error"
    assert "use one of status, tools, budget, help" in ran.error + ran.stderr


# help ------------------------------------------------------------------------------------------------------------------


def test_completion_offers_subcommands_options_and_the_magics(kernel: KernelProcess) -> None:
    assert {"status", "tools", "budget", "help"} <= set(kernel.complete("%hermes "))
    assert kernel.complete("%hermes st") == ["status"]
    assert {"--timeout", "--workdir", "--out"} <= set(kernel.complete("%%terminal --"))
    assert kernel.complete("%%terminal --out x --ti") == ["--timeout"]
    assert "%%terminal" in kernel.complete("%%term")
    assert "%hermes" in kernel.complete("%her")


def test_tools_complete_where_they_are_found_by_name(kernel: KernelProcess) -> None:
    kernel.run("found = hermes.tools()")
    assert any("terminal" in match for match in kernel.complete('found["ter'))
    assert kernel.run('found["terminal"].name').result == "'terminal'"


def test_help_explains_the_options(kernel: KernelProcess) -> None:
    text = kernel.inspect("%%terminal")
    assert all(word in text for word in ("--timeout SECONDS", "--workdir", "--no-check", "--out NAME", "180 s"))
    pages = kernel.run("%hermes?").reply["payload"]
    assert "%hermes budget" in pages[0]["data"]["text/plain"]

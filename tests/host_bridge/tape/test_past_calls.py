"""A policy is tried on what a tape holds: exactly what was looked at then, of what was really made."""

from __future__ import annotations

from pathlib import Path

from bare_kernel import BareKernel, open_host, open_kernel

from hermes_protocol.messages import ToolRequest
from host_bridge import control
from host_bridge.cli import main
from host_bridge.policy.model import Access, CommandResource, PathResource
from host_bridge.tape.past_calls import past_calls
from host_bridge.tape.reader import TapeReader

ALLOW = (("user", 'version = 1\n[rules]\nallow = ["terminal(echo *)"]\nask = ["terminal(echo asked)"]\n'),)


def call(kernel: BareKernel, tool: str, **arguments: object) -> None:
    call_id = kernel.connection.next_id()
    kernel.say(ToolRequest(id=call_id, tool=tool, arguments=arguments, timeout_seconds=15, window_bytes=1 << 20))
    kernel.answer(call_id)


def test_a_tapes_calls_are_tried(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    tape = tmp_path / "tape"
    orders = control.TapeOrders(path=str(tape), facts={"run_id": "r1"})
    with open_host(policy_texts=ALLOW, tape=orders) as host:
        host.expect(control.Ready)
        workspace = host.config.workspace
        Path(workspace, "a.txt").write_text("x")
        with open_kernel(host) as kernel:
            kernel.greet()
            call(kernel, "read_file", path="./a.txt")
            call(kernel, "terminal", command="echo hi; ls")
            call(kernel, "terminal", command="echo asked")
            call(kernel, "terminal", command="git push")
        host.send(control.End())
        host.expect(control.Ended)
    with TapeReader(str(tape)) as reader:
        read, listed, asked, denied = past_calls(reader)
    assert read.resources == (PathResource(f"{workspace}/a.txt", "a.txt", Access.READ),)
    assert listed.resources[1] == CommandResource(("ls",), "echo hi; ls", workspace)
    assert [one.effect for one in (read, listed, asked, denied)] == ["allow", "allow", "deny", "deny"]
    assert (read.workspace, read.principal, read.problem) == (workspace, "default", "")

    new = tmp_path / "new.toml"
    new.write_text('version = 1\n[rules]\nallow = ["terminal(git push *)"]\nask = ["terminal(echo asked)"]\n')
    assert main(["policy", "test", str(new), "--tape", str(tape)]) == 1
    said = capsys.readouterr().out
    assert "4 calls tried, 1 with another answer: 1 let through" in said
    assert "deny -> allow  terminal git push" in said

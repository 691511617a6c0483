"""A run that only tries: what it sees, what it leaves alone, and what it says it would do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from bare_kernel import BareKernel, Host, open_host, open_kernel
from hypothesis import given
from hypothesis import strategies as st

from host_bridge import control
from host_bridge.errors import TapeError
from host_bridge.tape.plan import Effect, Plan, plan_of, read_plan
from host_bridge.tape.reader import TapeReader

ALLOW = (
    ("test", 'version = 1\n[rules]\nallow = ["terminal", "read_file(./**)", "write_file(./**)", "patch(./**)"]\n'),
)


@contextmanager
def session(orders: control.TapeOrders) -> Iterator[tuple[Host, BareKernel, Path]]:
    with open_host(policy_texts=ALLOW, marks_cells=True, tape=orders) as host:
        host.expect(control.Ready)
        host.send(control.CellStarted(index=1, cell_id="one"))
        with open_kernel(host) as kernel:
            kernel.greet()
            yield host, kernel, Path(host.config.workspace)


def end(host: Host) -> control.Ended:
    host.send(control.End())
    return host.expect(control.Ended)


def write(kernel: BareKernel, path: str, content: bytes):
    return kernel.call("write_file", path=path, bulk=("content",), contents=(content,))


def plan_from(tape: Path) -> Plan:
    with TapeReader(str(tape)) as reader:
        return plan_of(reader.calls(), reader.facts(), "in.ipynb")


def test_reads_are_real_writes_are_not_and_what_was_written_is_read_back(tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    with session(control.TapeOrders(mode="plan", path=str(tape))) as (host, kernel, workspace):
        (workspace / "a.txt").write_text("one\ntwo\n")
        assert kernel.call("read_file", path="a.txt").content == b"one\ntwo\n"
        assert write(kernel, "a.txt", b"three\n").reply.result == {"bytes_written": 6, "created": False}
        assert write(kernel, "sub/new.txt", b"new\n").reply.result["created"] is True
        patched = kernel.call("patch", mode="replace", path="sub/new.txt", old_string="new", new_string="newer")
        assert "+newer" in patched.reply.result["diff"]
        assert kernel.call("read_file", path="a.txt").content == b"three\n"
        assert kernel.call("read_file", path="sub/new.txt").content == b"newer\n"
        deletion = "*** Begin Patch\n*** Delete File: a.txt\n*** End Patch"
        assert kernel.call("patch", mode="patch", patch=deletion).code == "ok"
        assert kernel.call("read_file", path="a.txt").code == "not_found"
        assert kernel.call("terminal", command="echo seen").streams == {"stdout": b"seen\n"}
        command = kernel.call("terminal", command="touch made; echo unseen")
        assert (command.streams, command.reply.result["exit_code"]) == ({}, 0)
        assert kernel.call("terminal", command="touch b", background=True).code == "failed"
        assert write(kernel, "../outside", b"x").code == "denied"
        end(host)
        assert {path.name for path in workspace.iterdir()} == {"a.txt"}
        assert (workspace / "a.txt").read_text() == "one\ntwo\n"
    plan = plan_from(tape)
    assert [effect.tool for effect in plan.effects] == ["write_file"] * 2 + ["patch"] * 2 + ["terminal"] * 2
    assert plan.effects[4].arguments["command"] == "touch made; echo unseen"


def test_a_plan_is_done_and_nothing_else(tmp_path: Path) -> None:
    tape, path = tmp_path / "tape", tmp_path / "plan.json"
    with session(control.TapeOrders(mode="plan", path=str(tape))) as (host, kernel, _):
        write(kernel, "a.txt", b"planned")
        end(host)
    path.write_bytes(msgspec.json.encode(plan_from(tape)))
    with session(control.TapeOrders(mode="apply", plan=str(path), path=str(tmp_path / "done"))) as (
        host,
        kernel,
        workspace,
    ):
        assert write(kernel, "a.txt", b"something else").code == "failed"
        assert write(kernel, "a.txt", b"planned").code == "ok"
        again = write(kernel, "a.txt", b"planned")
        assert "the plan doesn't have this effect" in again.reply.failure.message
        assert kernel.call("terminal", command="touch b").code == "failed"
        assert kernel.call("terminal", command="pwd").code == "ok"
        assert (workspace / "a.txt").read_bytes() == b"planned"
        assert [path.name for path in workspace.iterdir()] == ["a.txt"]
        assert len(end(host).divergences) == 3


def test_a_plan_that_was_changed_is_refused(tmp_path: Path) -> None:
    plan = Plan(notebook="n", source_digest="s", parameters_digest="p", workspace="w", effects=(effect(1, "a"),))
    path = tmp_path / "plan.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(plan, hash=plan.computed_hash())))
    assert read_plan(str(path)).effects == plan.effects
    path.write_bytes(path.read_bytes().replace(b'"digest":"a"', b'"digest":"b"'))
    with pytest.raises(TapeError, match="was changed"):
        read_plan(str(path))
    path.write_text("[]")
    with pytest.raises(TapeError, match="is not a plan"):
        read_plan(str(path))


def effect(cell: int, digest: str) -> Effect:
    return Effect(cell_index=cell, cell_id="", line=1, tool="write_file", arguments={"path": digest}, digest=digest)


def plan(effects: list[tuple[int, str]]) -> Plan:
    made = tuple(effect(cell, digest) for cell, digest in effects)
    return Plan(notebook="n", source_digest="s", parameters_digest="p", workspace="w", effects=made)


EFFECTS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc")), max_size=8)


@given(EFFECTS, st.randoms(use_true_random=False))
def test_the_hash_is_of_the_effects_in_any_order(effects, chance) -> None:
    shuffled = list(effects)
    chance.shuffle(shuffled)
    assert plan(effects).computed_hash() == plan(shuffled).computed_hash()
    assert plan(effects).differences(plan(shuffled)) == []


@given(EFFECTS, EFFECTS)
def test_plans_with_other_effects_have_other_hashes_and_say_the_difference(one, other) -> None:
    same = sorted(one) == sorted(other)
    assert (plan(one).computed_hash() == plan(other).computed_hash()) == same
    assert (plan(one).differences(plan(other)) == []) == same

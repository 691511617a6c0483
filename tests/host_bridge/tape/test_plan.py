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

TOOLS = ("read_file", "list_files", "search_files", "write_file", "patch")
RULES = ", ".join(f'"{tool}(./**)"' for tool in TOOLS)
ALLOW = (("test", f'version = 1\n[rules]\nallow = ["terminal", {RULES}]\n'),)


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


def lay_out(workspace: Path) -> None:
    for name, text in (
        ("a.txt", "one word\n"),
        ("old.txt", "one word\n"),
        ("sub/real.txt", "word\n"),
        ("sub/old.txt", "word\n"),
        (".gitignore", "*.tmp\n"),
    ):
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_text(text)
    (workspace / "link").symlink_to("sub")


def change(kernel: BareKernel, workspace: Path) -> list[str]:
    """Files made, replaced, patched, moved and deleted, by all the ways to name them; gives what came of each."""
    edit = (
        f"*** Begin Patch\n*** Update File: {workspace}/sub/new.txt\n@@\n-fresh word\n+newer word\n"
        "*** Update File: a.txt\n*** Move to: moved/a.txt\n@@\n-two words\n+three words\n"
        "*** Delete File: link/old.txt\n*** End Patch"
    )
    return [
        write(kernel, "a.txt", b"two words\n").code,
        write(kernel, "link/new.txt", b"fresh word\n").code,
        write(kernel, f"{workspace}/made/deep/x.log", b"word\n").code,
        write(kernel, ".gitignore", b"*.log\n").code,
        write(kernel, "made/.gitignore", b"!deep/\n*.md\n").code,
        write(kernel, "made/notes.md", b"word\n").code,
        kernel.call("patch", mode="patch", patch=edit).code,
        kernel.call("patch", mode="patch", patch="*** Begin Patch\n*** Delete File: old.txt\n*** End Patch").code,
        kernel.call("patch", mode="replace", path="old.txt", old_string="a", new_string="b").code,
        kernel.call("patch", mode="patch", patch="*** Begin Patch\n*** Add File: old.txt\n+back\n*** End Patch").code,
        kernel.call("write_file", path="nowhere/f", create_parents=False, bulk=("content",), contents=(b"",)).code,
    ]


LOOKS = [
    ("list_files", {}),
    ("list_files", {"recursive": True, "hidden": True}),
    ("list_files", {"recursive": True, "pattern": "*.txt", "limit": 2}),
    ("list_files", {"path": "link", "recursive": True}),
    ("list_files", {"path": "made/deep"}),
    ("list_files", {"path": "nowhere"}),
    ("list_files", {"path": "a.txt"}),
    ("search_files", {"pattern": "word"}),
    ("search_files", {"pattern": "word", "path": "sub", "context": 1}),
    ("search_files", {"pattern": "word", "path": "made", "output_mode": "count"}),
    ("search_files", {"pattern": "word", "path": "sub/new.txt"}),
    ("search_files", {"pattern": "word", "path": "made/deep/x.log"}),
    ("search_files", {"pattern": "*.txt", "target": "files", "limit": 2, "offset": 1}),
    ("read_file", {"path": "sub/new.txt"}),
    ("read_file", {"path": "link/new.txt"}),
    ("read_file", {"path": "moved/a.txt"}),
    ("read_file", {"path": "a.txt"}),
]


def looked(kernel: BareKernel, workspace: Path) -> list[object]:
    found: list[object] = []
    absolute = [("list_files", {"path": str(workspace)}), ("read_file", {"path": f"{workspace}/sub/new.txt"})]
    for tool, arguments in [*LOOKS, *absolute]:
        answer = kernel.call(tool, **arguments)
        result = answer.reply.result if answer.code == "ok" else None
        if tool == "read_file" and result:
            del result["version"]  # names the very file
        for entry in (result or {}).get("entries", ()):
            del entry["modified"]
            if entry["type"] != "file":
                del entry["size_bytes"]  # of a folder, the file system's affair
        found.append((tool, arguments.get("path"), answer.code, result, getattr(answer, "content", None)))
    return [repr(one).replace(str(workspace), "WORKSPACE") for one in found]


def test_who_looks_around_in_a_plan_finds_what_the_run_would_find(tmp_path: Path) -> None:
    with session(control.TapeOrders(path=str(tmp_path / "real"))) as (host, kernel, workspace):
        lay_out(workspace)
        real = change(kernel, workspace), looked(kernel, workspace)
        end(host)
    with session(control.TapeOrders(mode="plan", path=str(tmp_path / "plan"))) as (host, kernel, workspace):
        lay_out(workspace)
        before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
        assert change(kernel, workspace) == real[0]
        for seen, there in zip(looked(kernel, workspace), real[1], strict=True):
            assert seen == there
        end(host)
        assert {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before
    assert real[0] == ["ok"] * 8 + ["not_found", "ok", "not_found"]


def test_a_plan_says_what_its_commands_could_not_see(tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    with session(control.TapeOrders(mode="plan", path=str(tape))) as (host, kernel, _):
        kernel.call("terminal", command="ls")  # nothing was only simulated so far
        write(kernel, "a.txt", b"a")
        kernel.call("terminal", command="pwd")
        for target in ("all", "check"):
            kernel.call("terminal", command=f"make {target}")
        end(host)
    looked, made = plan_from(tape).unseen
    assert "cell 1: terminal(command='pwd')" in looked
    assert "was run on the real files" in looked
    assert "cell 1: terminal(command='make all') (and 1 more from this line) was not run" in made


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

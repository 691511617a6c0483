"""Taking back what a run did to files, as far as they are still what it left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bare_kernel import BareKernel, Host, open_host, open_kernel

from host_bridge import control
from host_bridge.tape.reader import TapeReader
from host_bridge.tape.undo import Undo, Undone

ALLOW = (("test", 'version = 1\n[rules]\nallow = ["terminal", "write_file(./**)", "patch(./**)"]\n'),)


def write(kernel: BareKernel, path: str, content: bytes) -> None:
    assert kernel.call("write_file", path=path, bulk=("content",), contents=(content,)).code == "ok"


def replace(kernel: BareKernel, path: str, old: str, new: str) -> None:
    assert kernel.call("patch", mode="replace", path=path, old_string=old, new_string=new).code == "ok"


def undo(tape: Path, cell: int | None = None, *, dry: bool = False) -> dict[str, Undone]:
    with TapeReader(str(tape)) as reader:
        return {one.path: one for one in Undo(reader, cell).run(dry=dry)}


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "tape"


@contextmanager
def run(tape: Path, **fields) -> Iterator[tuple[Host, BareKernel, Path]]:
    """A session that ends when the block says `host.send(End)`; its workspace stays until the block is over."""
    with open_host(policy_texts=ALLOW, marks_cells=True, tape=control.TapeOrders(path=str(tape)), **fields) as host:
        host.expect(control.Ready)
        host.send(control.CellStarted(index=1))
        with open_kernel(host) as kernel:
            kernel.greet()
            yield host, kernel, Path(host.config.workspace)


def end(host: Host) -> None:
    host.send(control.End())
    host.expect(control.Ended)


def test_bytes_and_mode_come_back_and_what_was_made_goes(tape: Path) -> None:
    with run(tape) as (host, kernel, workspace):
        (workspace / "old.txt").write_bytes(b"before\r\n\0")
        (workspace / "old.txt").chmod(0o750)
        (workspace / "gone.txt").write_bytes(b"a\nb\n")
        write(kernel, "old.txt", b"first")
        write(kernel, "old.txt", b"second\n")
        replace(kernel, "old.txt", "second", "third")
        write(kernel, "sub/new.txt", b"new")
        patch = "*** Begin Patch\n*** Delete File: gone.txt\n*** End Patch"
        assert kernel.call("patch", mode="patch", patch=patch).code == "ok"
        end(host)
        assert {one.outcome for one in undo(tape, dry=True).values()} == {"restored", "removed"}
        assert (workspace / "old.txt").read_bytes() == b"third\n"
        assert {path: one.outcome for path, one in undo(tape).items()} == {
            "old.txt": "restored",
            "gone.txt": "restored",
            "sub/new.txt": "removed",
        }
        assert (workspace / "old.txt").read_bytes() == b"before\r\n\0"
        assert (workspace / "old.txt").stat().st_mode & 0o777 == 0o750
        assert (workspace / "gone.txt").read_bytes() == b"a\nb\n"
        assert not (workspace / "sub" / "new.txt").exists()
        assert {one.outcome for one in undo(tape).values()} == {"unchanged"}


def test_a_file_that_changed_since_is_refused_with_the_difference_and_the_others_come_back(tape: Path) -> None:
    with run(tape) as (host, kernel, workspace):
        (workspace / "a.txt").write_text("one\n")
        (workspace / "b.txt").write_text("one\n")
        write(kernel, "a.txt", b"two\n")
        write(kernel, "b.txt", b"two\n")
        end(host)
        (workspace / "a.txt").write_text("two and a half\n")
        done = undo(tape)
        assert (done["a.txt"].outcome, done["a.txt"].reason) == ("refused", "it was changed since")
        assert "-two" in done["a.txt"].diff
        assert "+two and a half" in done["a.txt"].diff
        assert (workspace / "a.txt").read_text() == "two and a half\n"
        assert (workspace / "b.txt").read_text() == "one\n"


def test_one_cells_changes_come_back_if_no_later_cell_built_on_them(tape: Path) -> None:
    with run(tape) as (host, kernel, workspace):
        write(kernel, "both.txt", b"1")
        write(kernel, "first.txt", b"1")
        host.send(control.CellSettled(index=1))
        host.send(control.CellStarted(index=2))
        write(kernel, "both.txt", b"2")
        end(host)
        done = undo(tape, 1)
        assert (done["both.txt"].outcome, done["first.txt"].outcome) == ("refused", "removed")
        assert (workspace / "both.txt").read_bytes() == b"2"
        assert undo(tape, 2)["both.txt"].outcome == "restored"
        assert (workspace / "both.txt").read_bytes() == b"1"


def test_a_path_that_leads_elsewhere_by_now_is_not_followed(tape: Path, tmp_path: Path) -> None:
    with run(tape) as (host, kernel, workspace):
        (workspace / "d").mkdir()
        (workspace / "d" / "f.txt").write_text("one")
        (workspace / "g.txt").write_text("one")
        write(kernel, "d/f.txt", b"two")
        write(kernel, "g.txt", b"two")
        end(host)
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "f.txt").write_text("two")
        (workspace / "d" / "f.txt").unlink()
        (workspace / "d").rmdir()
        (workspace / "d").symlink_to(outside)
        (workspace / "g.txt").unlink()
        (workspace / "g.txt").symlink_to(outside / "f.txt")
        assert {one.outcome for one in undo(tape).values()} == {"refused"}
        assert (outside / "f.txt").read_text() == "two"


def test_a_secret_that_stood_in_a_file_is_not_kept_so_the_file_stays_and_that_is_said(tape: Path) -> None:
    with run(tape, secrets=("tok-ABCDEFGH",)) as (host, kernel, workspace):
        (workspace / "a.txt").write_text("tok-ABCDEFGH")
        write(kernel, "a.txt", b"two")
        end(host)
        assert "held a secret" in undo(tape)["a.txt"].reason
        assert b"tok-ABCDEFGH" not in tape.read_bytes()

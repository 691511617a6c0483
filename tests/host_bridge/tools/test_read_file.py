"""What read_file gives, and what it refuses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.errors import CallCancelledError, CallError, DeniedError, InvalidCallError, NotFoundError
from host_bridge.policy.model import Access, PathResource
from host_bridge.tools.delivery import MAX_BULK_BYTES
from host_bridge.tools.interface import ToolOutput
from host_bridge.tools.read_file import PIECE_BYTES, ReadFile, _LineRange

Caller = Callable[..., ToolOutput]
TOOL = ReadFile()


@pytest.fixture
def workspace(session: Any) -> Path:
    return Path(session.workspace)


def prepare(session: Any, **arguments: Any) -> Any:
    return TOOL.prepare(msgspec.convert(arguments, ReadFile.Arguments), session)


class TestContent:
    @pytest.mark.parametrize("data", [b"", b"x", b"a\r\nb\n\nc", "größe\n".encode(), bytes(range(256)) * 10])
    def test_a_small_file_comes_in_the_reply_as_it_is_on_disk(
        self, call: Caller, workspace: Path, make_context: Any, data: bytes
    ) -> None:
        (workspace / "f").write_bytes(data)
        context = make_context()
        output = call(TOOL, within=context, path="f")
        assert output.bulk == {"content": data}
        assert context.chunks == []
        assert output.value == {
            "size_bytes": len(data),
            "version": output.value["version"],
            "returned_bytes": len(data),
            "truncated": False,
        }

    @pytest.mark.parametrize("size", [MAX_BULK_BYTES + 1, PIECE_BYTES, 3 * PIECE_BYTES + 7])
    def test_a_large_file_comes_in_pieces(self, call: Caller, workspace: Path, make_context: Any, size: int) -> None:
        data = os.urandom(size)
        (workspace / "f").write_bytes(data)
        context = make_context()
        output = call(TOOL, within=context, path="f")
        assert output.bulk == {}
        assert context.bytes_of("body") == data
        assert max(len(piece) for _, piece in context.chunks) <= PIECE_BYTES
        assert output.value["returned_bytes"] == size

    def test_the_largest_content_for_a_reply_is_not_emitted(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "f").write_bytes(b"x" * MAX_BULK_BYTES)
        context = make_context()
        assert len(call(TOOL, within=context, path="f").bulk["content"]) == MAX_BULK_BYTES
        assert context.chunks == []

    @pytest.mark.parametrize(
        ("offset", "limit", "expected", "truncated"),
        [
            (None, None, b"0123456789", False),
            (0, 4, b"0123", True),
            (8, 10, b"89", False),
            (10, None, b"", False),
            (2**52, 5, b"", False),
            (0, 0, b"", True),
            (0, 10, b"0123456789", False),
        ],
    )
    def test_a_range_of_bytes_counts_from_zero(
        self,
        call: Caller,
        workspace: Path,
        offset: int | None,
        limit: int | None,
        expected: bytes,
        truncated: bool,
    ) -> None:
        (workspace / "f").write_bytes(b"0123456789")
        output = call(TOOL, path="f", unit="bytes", offset=offset, limit=limit)
        assert output.bulk["content"] == expected
        assert (output.value["truncated"], output.value["size_bytes"]) == (truncated, 10)

    @pytest.mark.parametrize(
        ("offset", "limit", "expected", "truncated"),
        [
            (1, 1, b"a\r\n", True),
            (2, 2, b"\nc\n", True),
            (4, None, b"d", False),
            (4, 5, b"d", False),
            (5, None, b"", False),
            (9, 9, b"", False),
            (1, 0, b"", True),
            (1, 4, b"a\r\n\nc\nd", False),
        ],
    )
    def test_a_range_of_lines_counts_from_one_and_keeps_endings(
        self, call: Caller, workspace: Path, offset: int, limit: int | None, expected: bytes, truncated: bool
    ) -> None:
        (workspace / "f").write_bytes(b"a\r\n\nc\nd")
        output = call(TOOL, path="f", offset=offset, limit=limit)
        assert (output.bulk["content"], output.value["truncated"]) == (expected, truncated)

    @given(
        pieces=st.lists(st.lists(st.sampled_from([b"\n", b"a", b"bb"]), max_size=6).map(b"".join), max_size=6),
        first=st.integers(1, 12),
        limit=st.none() | st.integers(0, 12),
    )
    @settings(max_examples=400, deadline=None)
    def test_lines_are_the_same_however_the_pieces_fall(
        self, pieces: list[bytes], first: int, limit: int | None
    ) -> None:
        lines = b"".join(pieces).splitlines(keepends=True)
        last = None if limit is None else first - 1 + limit
        cut = _LineRange(first, limit)
        assert b"".join(cut.cut(pieces)) == b"".join(lines[first - 1 : last])
        if limit is None or first - 1 + limit <= len(lines):
            assert limit == 0 or cut.position == sum(map(len, lines[:last]))

    @pytest.mark.parametrize("path", ["/proc/loadavg", "/proc/meminfo", "/proc/self/status"])
    def test_files_without_a_size_are_read_to_their_end(self, call: Caller, path: str) -> None:
        output = call(TOOL, path=path)
        assert output.bulk["content"].endswith(b"\n")
        assert output.value["size_bytes"] == output.value["returned_bytes"] > 10
        first = call(TOOL, path=path, limit=1)
        assert first.bulk["content"].count(b"\n") == 1


class TestVersion:
    def test_it_stays_while_the_file_does_and_changes_with_it(self, call: Caller, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"12345")
        version = call(TOOL, path="f").value["version"]
        assert call(TOOL, path="f", unit="bytes", offset=2, version=version).bulk["content"] == b"345"
        os.utime(workspace / "f", ns=(1, 1))
        with pytest.raises(CallError, match="changed while it was read"):
            call(TOOL, path="f", version=version)

    def test_another_file_of_the_same_size_and_time_is_another_version(self, call: Caller, workspace: Path) -> None:
        for name in ("f", "g"):
            (workspace / name).write_bytes(b"12345")
            os.utime(workspace / name, ns=(1, 1))
        version = call(TOOL, path="f").value["version"]
        (workspace / "g").replace(workspace / "f")
        with pytest.raises(CallError, match="changed"):
            call(TOOL, path="f", version=version)

    def test_a_file_that_changes_during_a_versioned_read_fails_it(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "f").write_bytes(b"x" * 4 * PIECE_BYTES)
        version = call(TOOL, path="f", unit="bytes", limit=1).value["version"]
        context = make_context(credit=2 * PIECE_BYTES)
        failures: list[BaseException] = []

        def read() -> None:
            try:
                call(TOOL, within=context, path="f", version=version)
            except BaseException as error:
                failures.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        context.wait_for(lambda context: len(context.bytes_of("body")) == 2 * PIECE_BYTES)
        with open(workspace / "f", "ab") as file:
            file.write(b"more")
        context.grant(100 * PIECE_BYTES)
        reader.join(10)
        assert [str(failure) for failure in failures] == ["'f' changed while it was read in pieces: start again"]


class TestHostileFiles:
    def test_a_file_that_grows_is_read_as_far_as_it_went(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "f").write_bytes(b"x" * 3 * PIECE_BYTES)
        context = make_context(credit=PIECE_BYTES)
        outputs: list[ToolOutput] = []
        reader = threading.Thread(target=lambda: outputs.append(call(TOOL, within=context, path="f")))
        reader.start()
        context.wait_for(lambda context: bool(context.chunks))
        with open(workspace / "f", "ab") as file:
            file.write(b"y" * 5 * PIECE_BYTES)
        context.grant(100 * PIECE_BYTES)
        reader.join(10)
        assert context.bytes_of("body") == b"x" * 3 * PIECE_BYTES
        assert outputs[0].value["returned_bytes"] == 3 * PIECE_BYTES

    def test_a_file_that_shrinks_gives_what_is_left(self, call: Caller, workspace: Path, make_context: Any) -> None:
        (workspace / "f").write_bytes(b"x" * 3 * PIECE_BYTES)
        context = make_context(credit=PIECE_BYTES)
        outputs: list[ToolOutput] = []
        reader = threading.Thread(target=lambda: outputs.append(call(TOOL, within=context, path="f")))
        reader.start()
        context.wait_for(lambda context: bool(context.chunks))
        os.truncate(workspace / "f", 0)
        context.grant(100 * PIECE_BYTES)
        reader.join(10)
        assert outputs[0].value["returned_bytes"] <= 2 * PIECE_BYTES

    @pytest.mark.parametrize(
        "arguments", [{}, {"unit": "bytes"}, {"unit": "bytes", "limit": 2**50}, {"offset": 2}, {"limit": 1}]
    )
    def test_a_sparse_terabyte_is_refused_soon(
        self, call: Caller, session: Any, workspace: Path, arguments: dict[str, Any]
    ) -> None:
        session.settings["read_file"] = {"max_bytes": 16 * 2**20}  # looking for a line's end takes as long as it takes
        with open(workspace / "f", "wb") as file:
            file.truncate(2**40)
        started = time.monotonic()
        with pytest.raises(CallError, match="in pieces"):
            call(TOOL, path="f", **arguments)
        assert time.monotonic() - started < 5

    def test_pieces_of_a_sparse_terabyte_are_as_good_as_any(self, call: Caller, workspace: Path) -> None:
        with open(workspace / "f", "wb") as file:
            file.truncate(2**40)
        assert call(TOOL, path="f", unit="bytes", offset=2**39, limit=3).bulk["content"] == b"\0\0\0"

    def test_a_pipe_a_folder_and_a_device_are_errors_at_once(self, call: Caller, workspace: Path) -> None:
        os.mkfifo(workspace / "pipe")
        (workspace / "zero").symlink_to("/dev/zero")
        started = time.monotonic()
        with pytest.raises(DeniedError, match="a pipe"):
            call(TOOL, path="pipe")
        with pytest.raises(InvalidCallError, match="is a folder"):
            call(TOOL, path=".")
        with pytest.raises(DeniedError, match="leads out"):
            call(TOOL, path="zero")
        with pytest.raises(DeniedError, match="a device"):
            call(TOOL, path="/dev/zero")
        assert time.monotonic() - started < 1

    def test_cancelling_ends_a_read_that_waits_for_the_kernel(
        self, call: Caller, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "f").write_bytes(b"x" * 4 * PIECE_BYTES)
        context = make_context(credit=PIECE_BYTES)
        failures: list[type[BaseException]] = []

        def read() -> None:
            try:
                call(TOOL, within=context, path="f")
            except BaseException as error:
                failures.append(type(error))

        reader = threading.Thread(target=read)
        reader.start()
        context.wait_for(lambda context: bool(context.chunks))
        context.cancel()
        reader.join(10)
        assert failures == [CallCancelledError]


class TestPreparing:
    def test_what_is_decided_about_is_the_canonical_file(self, session: Any, workspace: Path) -> None:
        (workspace / "dir").mkdir()
        (workspace / "dir" / "f").write_bytes(b"x")
        (workspace / "link").symlink_to("dir")
        call = prepare(session, path="./link//f")
        assert call.resources == (PathResource(str(workspace / "dir/f"), "dir/f", Access.READ),)
        assert call.shown == {"path": "dir/f", "unit": "lines", "offset": 1, "limit": None}
        call.close()

    def test_what_is_read_is_what_was_decided_about(self, session: Any, workspace: Path, make_context: Any) -> None:
        (workspace / "f").write_bytes(b"decided")
        (workspace / "secret").write_bytes(b"secret")
        call = prepare(session, path="f")
        (workspace / "secret").replace(workspace / "f")
        assert call.run(make_context()).bulk["content"] == b"decided"
        call.close()

    def test_outside_of_the_workspace_missing_and_unreadable_look_alike_until_decided(
        self, session: Any, make_context: Any, tmp_path: Path
    ) -> None:
        (tmp_path / "folder").mkdir()
        calls = [prepare(session, path=f"{tmp_path}/{name}") for name in ("missing", "folder", "missing/x")]
        for call, expected in zip(calls, (NotFoundError, InvalidCallError, NotFoundError), strict=True):
            assert call.shown["path"].startswith(str(tmp_path))
            with pytest.raises(expected):
                call.run(make_context())
            call.close()

    def test_a_small_local_file_is_quick_and_a_large_or_distant_one_is_not(
        self, session: Any, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "small").write_bytes(b"x")
        (workspace / "large").write_bytes(b"x" * (MAX_BULK_BYTES + 1))
        expected = {"small": True, "large": False, "/proc/loadavg": False}
        for path, is_quick in expected.items():
            call = prepare(session, path=path)
            assert call.quick is is_quick
            call.close()
        assert TOOL.quick_prepare(ReadFile.Arguments("small"), session)
        assert not TOOL.quick_prepare(ReadFile.Arguments("/srv/net/x"), session)

    def test_a_quick_call_stays_quick_when_the_file_grows_meanwhile(
        self, session: Any, workspace: Path, make_context: Any
    ) -> None:
        (workspace / "f").write_bytes(b"small")
        call = prepare(session, path="f")
        assert call.quick
        (workspace / "f").write_bytes(b"small" + b"x" * 5 * PIECE_BYTES)
        context = make_context(credit=0)  # emitting would wait for ever
        assert call.run(context).bulk["content"] == b"small"
        call.close()

    def test_lines_are_not_counted_from_zero(self, call: Caller, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"x")
        with pytest.raises(InvalidCallError, match="counted from 1"):
            call(TOOL, path="f", offset=0)

    def test_nothing_stays_open(self, call: Caller, session: Any, workspace: Path) -> None:
        (workspace / "f").write_bytes(b"x")
        call(TOOL, path="f")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for path in ("f", "missing", ".", "/etc/passwd", "/missing"):
            try:
                call(TOOL, path=path)
            except CallError:
                continue
        assert len(list(Path("/proc/self/fd").iterdir())) == before

"""A session whose tape's disk is really full."""

from __future__ import annotations

from pathlib import Path

from small_disks import run_on_small_disk


def test_a_write_that_does_not_fit_on_the_tape_fails_and_says_what_to_do(tmp_path: Path) -> None:
    run_on_small_disk(
        tmp_path / "disk",
        """
        import os
        from taped_sessions import session
        from host_bridge.control import TapeOrders

        for size in (3_000, 30_000, 200_000):  # what is full then is another step of the call
            path = DISK / f"tape-{size}"
            with session(TapeOrders(path=str(path))) as (host, kernel):
                for number in range(1000):
                    content = os.urandom(size)
                    answer = kernel.call("write_file", path="same.bin", bulk=("content",), contents=(content,))
                    if answer.code != "ok":
                        break
                assert answer.code == "audit_failed", (size, answer)
                assert "make room" in answer.reply.failure.message, answer.reply.failure.message
            for one in DISK.glob("tape-*"):
                one.unlink()
        """,
    )

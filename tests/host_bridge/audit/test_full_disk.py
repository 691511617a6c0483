"""A disk that is really full: nothing is done that can't be recorded, and there is room again afterwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from small_disks import run_on_small_disk


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Callable[[str], str]:
    """Runs Python where `DISK` is a file system of 1 MiB of its own."""
    return partial(run_on_small_disk, tmp_path / "disk")


def test_a_log_its_next_files_and_its_heads_survive_a_full_disk(on_small_disk):
    on_small_disk(
        """
        import os
        from host_bridge.audit import heads as heads_module
        from host_bridge.audit.log import AuditLog, verify
        from host_bridge.audit.records import CallSettled, SessionClosed, SessionOpened
        from host_bridge.errors import AuditError

        heads_module.KEEP_SECONDS = 0.0  # at every record
        log = AuditLog.open(DISK / "a.jsonl", rotate_bytes=6000)
        log.keep_heads(str(DISK / "heads.jsonl"), "s1")
        log.append(SessionOpened(session_id="s1", principal="p", profile="full", workspace="/w"))
        written = 1
        for round in range(6):
            ballast = DISK / "ballast"
            with open(ballast, "wb") as file:
                try:
                    while True:
                        os.write(file.fileno(), b"x" * 512)
                except OSError as error:
                    assert error.strerror == "No space left on device"
            refused = 0
            while refused < 20:
                try:
                    log.append(CallSettled(call_id="c" * 200, outcome="ok"))
                    written += 1
                except AuditError as error:
                    assert "make room" in str(error) or "can't be opened" in str(error), error
                    refused += 1
            ballast.unlink()
            for _ in range(7):
                log.append(CallSettled(call_id="c" * 200, outcome="ok"))
                written += 1
        log.append(SessionClosed())
        log.close()
        report = verify(DISK / "a.jsonl", heads=DISK / "heads.jsonl")
        assert report.problems == (), report.problems
        assert report.closed
        assert report.records == written + 1 + 2 * (len(report.files) - 1)
        assert len(report.files) > 1
        assert report.kept == report.records - 1
        """
    )


def test_a_session_does_nothing_while_its_audit_disk_is_full_and_goes_on_when_there_is_room(on_small_disk):
    on_small_disk(
        """
        import json
        from bare_kernel import open_host, open_kernel
        from host_bridge import control
        from host_bridge.audit.log import verify

        rules = (("test", 'version = 1\\n[rules]\\nallow = ["write_file(./**)"]\\n'),)
        places = {"audit_path": str(DISK / "a.jsonl"), "audit_heads": str(DISK / "heads.jsonl")}
        with open_host(policy_texts=rules, **places) as host, open_kernel(host) as kernel:
            kernel.greet()
            workspace = Path(host.config.workspace)

            def write(name):
                return kernel.call("write_file", path=name, bulk=("content",), contents=(b"x",)).code

            assert write("before") == "ok"
            size = (DISK / "a.jsonl").stat().st_size
            with open(DISK / "ballast", "wb", buffering=0) as ballast:
                try:
                    while True:
                        ballast.write(b"x" * 4096)
                except OSError:
                    pass
            # What is left of the log's last block takes a record or two.
            codes = [write(f"full-{n * 'o'}-{n}") for n in range(30)]  # of many sizes, so that each record is once too large
            assert set(codes) <= {"ok", "audit_failed"}, codes
            assert codes[-5:] == ["audit_failed"] * 5, codes
            done = {f"full-{n * 'o'}-{n}" for n, code in enumerate(codes) if code == "ok"}
            assert {path.name for path in workspace.iterdir()} - {"before"} >= done
            assert not any((workspace / f"full-{n * 'o'}-{n}").exists() for n in range(25, 30))
            (DISK / "ballast").unlink()
            assert write("after") == "ok"
            host.send(control.End())
            assert host.wait() == 0
            report = verify(DISK / "a.jsonl", heads=DISK / "heads.jsonl")
            assert (report.ok, report.closed) == (True, True), report
            acted = {
                record["arguments"]["path"]
                for line in (DISK / "a.jsonl").read_text().splitlines()
                if (record := json.loads(line))["type"] == "call_decided" and record["effect"] == "allow"
            }
            assert {path.name for path in workspace.iterdir()} <= acted
        """
    )

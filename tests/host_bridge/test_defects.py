"""A defect of the host, in a tool or where rules are matched: the call fails closed and tells nothing, the session goes on."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from bare_kernel import open_host, open_kernel

from host_bridge import control

RULES = (
    (
        "test",
        'version = 1\n[taint]\nbrake = false\n[rules]\nallow = ["breaks_in_prepare", "breaks_in_run", "write_file(./**)", '
        '"breaks_in_matching(./**)"]\n',
    ),
)
PLACE = "/srv/host/private"


@pytest.fixture
def broken_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with tools that have defects."""
    (tmp_path / "defective.py").write_text(
        textwrap.dedent(
            f"""
            import msgspec
            from pathlib import Path
            from host_bridge.policy.model import Access, PathResource
            from host_bridge.tools.interface import SimpleCall, Tool, ToolOutput

            class Defective(Tool):
                class Arguments(msgspec.Struct, forbid_unknown_fields=True):
                    pass

            class InPrepare(Defective):
                name = "breaks_in_prepare"
                def prepare(self, arguments, session):
                    raise ZeroDivisionError("{PLACE}")

            class InMatching(Defective):
                name = "breaks_in_matching"
                def prepare(self, arguments, session):
                    def act(context):
                        Path(session.workspace, "acted").touch()
                        return ToolOutput()
                    return SimpleCall(shown={{}}, resources=(PathResource(None, None, Access.READ),), act=act)

            class InRun(Defective):
                name = "breaks_in_run"
                def prepare(self, arguments, session):
                    def act(context):
                        raise RecursionError("{PLACE}")
                    return SimpleCall(shown={{}}, act=act)
            """
        )
    )
    described = tmp_path / "defective-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: defective\nVersion: 1\n")
    (described / "entry_points.txt").write_text(
        "[hermes_runtime.tools]\na = defective:InPrepare\nb = defective:InMatching\nc = defective:InRun\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_a_defect_denies_its_call_is_recorded_and_told_to_the_hosts_log_only(broken_tools: None) -> None:
    with open_host(policy_texts=RULES) as host:
        with open_kernel(host) as kernel:
            kernel.greet()
            for tool in ("breaks_in_prepare", "breaks_in_matching", "breaks_in_run"):
                failure = kernel.call(tool).reply.failure
                assert failure.code.value == "internal"
                assert PLACE not in failure.message
                assert "Error" not in failure.message
            assert kernel.call("write_file", path="after", bulk=("content",), contents=(b"x",)).code == "ok"
        assert not (Path(host.config.workspace) / "acted").exists()
        effects = [record["effect"] for record in host.records("call_decided")]
        outcomes = [record["outcome"] for record in host.records("call_settled")]
        assert effects == ["deny", "deny", "allow", "allow"]
        assert outcomes == ["internal", "ok"]
        assert PLACE not in json.dumps(host.records())
        host.send(control.End())
        assert host.wait() == 0
        errors = host.errors()
    assert all(defect in errors for defect in (f"ZeroDivisionError: {PLACE}", "TypeError", f"RecursionError: {PLACE}"))

"""Which files of an approved folder may be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from host_bridge.errors import DeniedError
from host_bridge.policy.paths import resolve
from host_bridge.tools.reach import Reach


class Context:
    """A policy as a table: who is not in it is allowed."""

    def __init__(self, denied: dict[str | None, str]) -> None:
        self._denied = denied
        self.asked: list[Any] = []

    def authorise(self, *resources: Any) -> None:
        self.asked.extend(resources)
        for resource in resources:
            if resource.relative in self._denied:
                raise DeniedError("no", rule_id=self._denied[resource.relative])


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "dir").mkdir()
    return tmp_path


def reach(workspace: Path, denied: dict[str | None, str], path: str = "dir") -> tuple[Reach, Context]:
    context = Context(denied)
    with resolve(str(workspace), path) as root:
        return Reach(context, root), context  # type: ignore[arg-type]


def test_a_file_is_asked_about_by_its_canonical_name(workspace: Path) -> None:
    covered, context = reach(workspace, {})
    assert covered.covers("x/y")
    assert (context.asked[-1].path, context.asked[-1].relative) == (f"{workspace}/dir/x/y", "dir/x/y")
    covered, context = reach(workspace, {}, ".")
    assert covered.covers("x")
    assert (context.asked[-1].path, context.asked[-1].relative) == (f"{workspace}/x", "x")
    covered, context = reach(workspace, {}, "/")
    assert covered.covers("x")
    assert (context.asked[-1].path, context.asked[-1].relative) == ("/x", None)


def test_a_file_denied_by_a_rule_stays_denied(workspace: Path) -> None:
    covered, _ = reach(workspace, {"dir/.env": "user:3"})
    assert covered.covers("a")
    assert not covered.covers(".env")


def test_a_file_no_rule_speaks_of_is_covered_by_the_folder(workspace: Path) -> None:
    covered, _ = reach(workspace, {"dir/a": "default"})
    assert covered.covers("a")


def test_the_rule_a_person_said_yes_to_is_not_asked_again_for_each_file(workspace: Path) -> None:
    covered, _ = reach(workspace, {"dir": "user:7", "dir/a": "user:7", "dir/.env": "user:3"})
    assert covered.covers("a")
    assert not covered.covers(".env")

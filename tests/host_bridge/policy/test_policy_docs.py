"""What the page shows works as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from host_bridge.policy.loading import load_policy
from host_bridge.policy.matching import Matcher
from host_bridge.policy.rules import Clause, Rule

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
FILES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
DECLARATIONS = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
RULES = sorted(
    {text for text in re.findall(r"`([a-z_*]+\([^`]+\))`", PAGE) if "…" not in text and not text.startswith("verify")}
)


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_every_file_shown_loads(text, tmp_path):
    file = tmp_path / "shown.toml"
    file.write_text(text)
    assert load_policy(profile="workspace", paths=[("user", str(file))]).sources[-1] == ("user", str(file))


def test_every_declaration_shown_loads():
    assert DECLARATIONS
    for text in DECLARATIONS:
        load_policy(profile="workspace", notebook_permissions=json.loads(text)["hermes"]["permissions"])


@pytest.mark.parametrize("text", RULES)
def test_every_rule_shown_is_one(text):
    clause = Clause.DENY if text.startswith("*") else Clause.ALLOW
    Matcher(clause, [Rule(text, clause, "docs", "docs")])


def test_there_is_something_to_check():
    assert len(FILES) >= 3
    assert len(RULES) >= 3

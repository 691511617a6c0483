"""Rules given as options."""

from __future__ import annotations

import json
from collections.abc import Iterable


def rules_text(*, allow: Iterable[str], deny: Iterable[str]) -> str:
    """Give rules as the TOML text of a policy; empty for none."""
    clauses = {"allow": list(allow), "deny": list(deny)}
    # A JSON list of strings is a TOML list of strings.
    lines = [f"{name} = {json.dumps(rules, ensure_ascii=False)}" for name, rules in clauses.items() if rules]
    return "\n".join(["[rules]", *lines]) if lines else ""

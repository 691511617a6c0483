"""Runs a policy's own `[[tests]]`, so that a file whose rules don't say what its author meant refuses to load.

    [[tests]]
    call = ["terminal(git push origin main)", "read_file(./private/x)"]
    expect = "deny"

A call is written as a rule is, with what it is about instead of a pattern. What it is tried against depends on nothing but the
file, so that no other layer can make it fail: a file with authority stands on the profile `workspace`; one that only narrows
stands on a profile that allows everything, so that what is denied is denied by it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from host_bridge.errors import InvalidCallError, PolicyError
from host_bridge.policy.assembly import assemble
from host_bridge.policy.display import as_written, one_line
from host_bridge.policy.engine import decide
from host_bridge.policy.layers import Policy
from host_bridge.policy.model import AccessRequest, Decision, Effect
from host_bridge.policy.sources import Source, TestTable, read_profile, unknown_tool
from host_bridge.policy.subjects import WORKSPACE, resources_of

MAX_CALLS = 1000  # each takes up to a millisecond, at the start of every session
UNTRUSTED = "a test"

_CALL = re.compile(r"(?P<tool>[a-z][a-z0-9_]{0,63})(?:\((?P<subject>.*)\))?", re.DOTALL)


def run_tests(source: Source, known_tools: Collection[str] | None = None) -> int:
    """Try everything a source says about itself.

    Args:
        source: What was read.
        known_tools: If given, calls of other tools are refused.

    Returns:
        How many calls were tried.

    Raises:
        PolicyError: One has another answer than was expected; `.key` names the test.
    """
    if not source.tests:
        return 0
    calls = [
        (f"tests[{index}].call" + ("" if isinstance(test.call, str) else f"[{number}]"), text, test)
        for index, test in enumerate(source.tests)
        for number, text in enumerate((test.call,) if isinstance(test.call, str) else test.call)
    ]
    if len(calls) > MAX_CALLS:
        raise PolicyError(
            f"{source.place}: tests: over {MAX_CALLS} calls; leave some out", path=source.path, key="tests"
        )
    policy = _policy(source)
    for key, text, test in calls:
        tool, subject = _call(source, key, text, known_tools)
        decision = _decided(policy, tool, subject, test)
        if decision.effect.name.lower() != test.expect:
            why = f"{decision.reason or 'allowed'} [{decision.rule_id}]"
            raise PolicyError(
                f"{source.place}: {key}: {as_written(text)} should be {test.expect!r} and is "
                f"{decision.effect.name.lower()!r}: {one_line(why)}",
                path=source.path,
                key=key,
            )
    return len(calls)


def _policy(source: Source) -> Policy:
    base = read_profile("full" if source.constrains else "workspace")
    return assemble([base, source], workspace=WORKSPACE)


def _call(source: Source, key: str, text: str, known_tools: Collection[str] | None) -> tuple[str, str | None]:
    match = _CALL.fullmatch(text)
    if match is None:
        problem = (
            f"{as_written(text)} is no call; write a tool and what the call is about: terminal(git push origin main)"
        )
    elif not (problem := unknown_tool(match["tool"], known_tools)):
        return match["tool"], match["subject"]
    raise PolicyError(f"{source.place}: {key}: {problem}", path=source.path, key=key)


def _decided(policy: Policy, tool: str, subject: str | None, test: TestTable) -> Decision:
    try:
        resources = resources_of(tool, subject)
    except InvalidCallError as error:
        return Decision(Effect.DENY, "request", f"the call is refused before any rule: {error}")
    untrusted = UNTRUSTED if test.after_untrusted else ""
    return decide(policy, AccessRequest(test.agent, tool, resources, untrusted))

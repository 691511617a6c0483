"""What a run would do: a list of effects with a hash, made from the tape of a run that only tried."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable
from typing import Any

import msgspec

from host_bridge.errors import CallError, TapeError
from host_bridge.tape.format import canonical_json, sha256
from host_bridge.tape.reader import Recorded
from host_bridge.tape.unseen import unseen

VERSION = 1
MAX_PLAN_BYTES = 64 * 2**20
MAX_SHOWN = 10


class Effect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a run would do.

    Attributes:
        arguments: As decided and run.
        digest: SHA-256 over tool and arguments, as in the audit log.
    """

    cell_index: int | None
    cell_id: str
    line: int
    tool: str
    arguments: dict[str, Any]
    digest: str

    @property
    def key(self) -> tuple[int, int, str]:
        """What makes it the same effect in another run."""
        return (-1 if self.cell_index is None else self.cell_index, self.line, self.digest)

    def __str__(self) -> str:
        from host_bridge.tape.matching import shown_call

        place = "outside of any cell" if self.cell_index is None else f"cell {self.cell_index}"
        place += f", line {self.line}" if self.line else ""
        return f"{place}: {shown_call(self.tool, canonical_json(self.arguments).decode())}"


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The effects of a run, in the order they were tried.

    Attributes:
        unseen: What could not be seen by trying, for the reader (`host_bridge.tape.unseen`). No part of what is hashed.
        hash: SHA-256 over the inputs and the effects, whatever order threads made them in.
    """

    version: int = VERSION
    notebook: str
    source_digest: str
    parameters_digest: str
    workspace: str
    effects: tuple[Effect, ...]
    unseen: tuple[str, ...] = ()
    hash: str = ""

    def computed_hash(self) -> str:
        """Give the hash of what it says."""
        effects = sorted([*effect.key[:2], effect.tool, effect.digest] for effect in self.effects)
        return sha256(
            canonical_json([self.version, self.source_digest, self.parameters_digest, self.workspace, effects])
        )

    def differences(self, other: Plan) -> list[str]:
        """Say in what another run's effects differ from these."""
        mine, theirs = (collections.Counter(effect.key for effect in plan.effects) for plan in (self, other))
        missing = [f"no longer: {effect}" for effect in _taken(self.effects, mine - theirs)]
        new = [f"new: {effect}" for effect in _taken(other.effects, theirs - mine)]
        inputs = ("source_digest", "parameters_digest", "workspace")
        changed = [
            f"another {name.replace('_', ' ')}" for name in inputs if getattr(self, name) != getattr(other, name)
        ]
        return [*changed, *missing, *new]


def plan_of(calls: Iterable[Recorded], facts: dict[str, Any], notebook: str) -> Plan:
    """Make the plan of a run that only tried."""
    calls = list(calls)
    effects = tuple(
        Effect(
            cell_index=call.row.cell_index,
            cell_id=call.row.cell_id,
            line=call.row.line,
            tool=call.row.tool,
            arguments=msgspec.json.decode(call.row.canonical, type=dict[str, Any]),
            digest=call.row.canonical_digest,
        )
        for call in calls
        if call.row.acts
    )
    plan = Plan(
        notebook=notebook,
        source_digest=str(facts.get("source_digest", "")),
        parameters_digest=str(facts.get("parameters_digest", "")),
        workspace=str(facts.get("workspace", "")),
        effects=effects,
        unseen=unseen(calls),
    )
    return msgspec.structs.replace(plan, hash=plan.computed_hash())


def read_plan(path: str) -> Plan:
    """Read a plan.

    Raises:
        TapeError: It is none, or was changed.
    """
    try:
        with open(path, "rb") as file:
            plan = msgspec.json.decode(file.read(MAX_PLAN_BYTES), type=Plan)
    except OSError as error:
        raise TapeError(f"the plan {path} can't be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise TapeError(f"{path} is not a plan (`run --plan` makes one): {error}") from None
    if plan.hash != plan.computed_hash():
        raise TapeError(f"the plan {path} was changed since it was made: its hash is of other effects; make it anew")
    return plan


class PlanGuard:
    """Lets a run do what its plan says, each effect once. Thread-safe."""

    def __init__(self, plan: Plan) -> None:
        self._lock = threading.Lock()
        self._left = collections.Counter(effect.key for effect in plan.effects)

    def check(self, cell_index: int | None, line: int, digest: str, shown: str) -> None:
        """Take an effect from the plan.

        Raises:
            CallError: It isn't in it, so it must not be done.
        """
        key = (-1 if cell_index is None else cell_index, line, digest)
        with self._lock:
            if not self._left[key]:
                raise CallError(f"the plan doesn't have this effect, so it was not done: {shown}")
            self._left[key] -= 1


def _taken(effects: Iterable[Effect], wanted: collections.Counter[tuple[int, int, str]]) -> list[Effect]:
    left, found = collections.Counter(wanted), []
    for effect in effects:
        if left[effect.key] > 0:
            left[effect.key] -= 1
            found.append(effect)
    return found[:MAX_SHOWN]

"""A run that only tries: what looks is done, what acts is simulated, and what was "written" is read back, listed and found.

Files that were written or patched are private copies (`rehearsed_files`), and the real tools work on them there. So a patch
gives its real diff, and a later read of the same file gives what it would find. A request that only looks is made,
and what it saves is saved there. Commands that act give an empty result that says 0; other tools that act can't be simulated,
and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from host_bridge.errors import CallError
from host_bridge.policy.methods import METHOD_TOOLS, SAFE
from host_bridge.tape.effects import Effects
from host_bridge.tape.format import canonical_json
from host_bridge.tape.rehearsed_files import RehearsedFiles
from host_bridge.tape.simulation import simulated_result
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput

_WRITES = frozenset({"write_file", "patch"})
_READS = frozenset({"read_file", "list_files", "search_files"})


class Rehearsal:
    """The calls of a planned run.

    Args:
        session: The real one.
        effects: Judges what acts.
    """

    def __init__(self, session: Session, effects: Effects) -> None:
        self._session = session
        self._effects = effects
        self._files = RehearsedFiles(session)

    def prepare(self, tool: Tool, arguments: Any) -> Call:
        """Prepare a call that changes nothing."""
        if tool.name in _READS:
            return self._files.reading(tool, arguments)
        if tool.name in _WRITES or _saves(tool, arguments):
            call, names = self._files.writing(tool, arguments)
            return SimulatedCall(call, lambda context: self._files.write(tool, arguments, names, context))
        call = tool.prepare(arguments, self._session)
        if not self._effects.acts(tool.name, call.resources, call.shown):
            return call
        return SimulatedCall(call, lambda context: _simulate(tool.name, call.shown, context))

    def close(self) -> None:
        """Forget the files."""
        self._files.close()


class SimulatedCall(Call):
    """A call that is shown, decided and recorded as it is, and then not done."""

    def __init__(self, real: Call, act: Callable[[CallContext], ToolOutput]) -> None:
        self._real = real
        self._act = act
        self.resources = real.resources
        self.about = real.about
        self.shown = real.shown

    def run(self, context: CallContext) -> ToolOutput:
        """Say what it would have given."""
        return self._act(context)

    def close(self) -> None:
        """Let go of what the real one held."""
        self._real.close()


def _saves(tool: Tool, arguments: Any) -> bool:
    """Whether a call is a request that changes nothing but the file that its answer is saved in."""
    if tool.name not in METHOD_TOOLS or arguments.save_to is None:
        return False
    return bool(arguments.method.upper() in SAFE)


def _simulate(tool: str, shown: Mapping[str, Any], context: CallContext) -> ToolOutput:
    if tool != "terminal" or shown.get("background"):
        raise CallError(f"{tool} would act, and what it would give can't be simulated; the plan has it as an effect")
    return simulated_result(tool, canonical_json(shown).decode()).run(context)

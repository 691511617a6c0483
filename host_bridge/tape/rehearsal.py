"""A run that only tries: what looks is done, what acts is simulated, and what was "written" is read back.

Files that were written or patched live in a private folder, as copies, and the real tools work on them there. So a patch gives
its real diff, and a later read of the same file gives what it would find. Commands that act give an empty result that says 0;
other tools that act can't be simulated, and say so.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host_bridge.errors import CallError, NotFoundError
from host_bridge.policy.model import PathResource
from host_bridge.policy.paths import resolve
from host_bridge.tape.effects import Effects
from host_bridge.tape.format import canonical_json
from host_bridge.tape.simulation import simulated_result
from host_bridge.tools.interface import Call, CallContext, Session, Tool, ToolOutput

_WRITES = frozenset({"write_file", "patch"})
_READS = frozenset({"read_file"})
_PIECE_BYTES = 2**20


class Rehearsal:
    """The files that a planned run would have changed.

    Args:
        session: The real one.
        effects: Judges what acts.
    """

    def __init__(self, session: Session, effects: Effects) -> None:
        self._session = session
        self._effects = effects
        self._folder = tempfile.mkdtemp(prefix="hermes-plan-")
        self._shadow = _ShadowSession(session, self._folder)
        self._touched: set[str] = set()
        self._turn = threading.Lock()

    def prepare(self, tool: Tool, arguments: Any) -> Call:
        """Prepare a call that changes nothing."""
        if tool.name in _READS | _WRITES:
            return self._prepare_file(tool, arguments)
        call = tool.prepare(arguments, self._session)
        if not self._effects.acts(tool.name, call.resources, call.shown):
            return call
        return SimulatedCall(call, lambda context: _simulate(tool.name, call.shown, context))

    def close(self) -> None:
        """Forget the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _prepare_file(self, tool: Tool, arguments: Any) -> Call:
        try:
            call = tool.prepare(arguments, self._session)
        except NotFoundError:
            if not self._touched:
                raise
            call = tool.prepare(arguments, self._shadow)  # it may be there since an earlier call of this run
        paths = [resource.relative for resource in call.resources if isinstance(resource, PathResource)]
        if tool.name in _READS:
            if not self._touched.intersection(filter(None, paths)):
                return call
            call.close()
            return tool.prepare(arguments, self._shadow)
        if None in paths:
            call.close()
            raise CallError(f"{tool.name} outside of the workspace can't be simulated")
        names = [path for path in paths if path]
        return SimulatedCall(call, lambda context: self._write(tool, arguments, names, context))

    def _write(self, tool: Tool, arguments: Any, names: list[str], context: CallContext) -> ToolOutput:
        with self._turn:
            for name in names:
                if name not in self._touched:
                    self._copy(name)
                    self._touched.add(name)
        call = tool.prepare(arguments, self._shadow)
        try:
            return call.run(_ShadowContext(context, self._shadow))
        finally:
            call.close()

    def _copy(self, name: str) -> None:
        """Take what a file is now into the private folder."""
        with resolve(self._session.workspace, name, must_exist=False) as found:
            target = Path(self._folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if found.status is None:
                return
            status = found.require_file()
            with os.fdopen(found.open(os.O_RDONLY), "rb") as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy, _PIECE_BYTES)
            target.chmod(status.st_mode & 0o777)


class SimulatedCall(Call):
    """A call that is shown, decided and recorded as it is, and then not done."""

    def __init__(self, real: Call, act: Any) -> None:
        self._real = real
        self._act = act
        self.resources = real.resources
        self.about = real.about
        self.shown = real.shown

    def run(self, context: CallContext) -> ToolOutput:
        """Say what it would have given."""
        output: ToolOutput = self._act(context)
        return output

    def close(self) -> None:
        """Let go of what the real one held."""
        self._real.close()


def _simulate(tool: str, shown: Mapping[str, Any], context: CallContext) -> ToolOutput:
    if tool != "terminal" or shown.get("background"):
        raise CallError(f"{tool} would act, and what it would give can't be simulated; the plan has it as an effect")
    return simulated_result(tool, canonical_json(shown).decode()).run(context)


class _ShadowSession:
    """The session, but with the private folder as its workspace."""

    def __init__(self, session: Session, workspace: str) -> None:
        self._session = session
        self.workspace = os.path.realpath(workspace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class _ShadowContext:
    """A call's context, of which no file is kept."""

    keep_image = None

    def __init__(self, context: CallContext, session: Session) -> None:
        self._context = context
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

"""A run's tape, seen from the executor: where it is written, where it ends up, and what the notebook says of it.

The session process writes it in the run's folder, which no kernel reaches. When the session is over it is put beside the output
notebook; after a crash of the executor it is where it was written, and `hermes-runtime runs` knows where.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from host_bridge.config import load_config
from host_bridge.control import Ended, TapeOrders
from host_bridge.errors import OutputError, TapeError
from host_bridge.executor.reading import is_remote
from host_bridge.executor.report import RunReport
from host_bridge.executor.saving import LocalFile
from host_bridge.executor.states import State
from host_bridge.runs import index, kept_tapes
from host_bridge.tape.format import canonical_json, make_whole, sha256
from host_bridge.tape.plan import plan_of
from host_bridge.tape.reader import TapeReader

if TYPE_CHECKING:
    from host_bridge.provisioning.session import BridgeSession

TOLD_FACTS = ("source_digest", "parameters_digest", "policy_digest", "environment", "versions", "mode", "earlier_root")
"""Those of a tape's facts that the notebook's metadata repeats."""


class RunTape:
    """One run's entry in the index, and its tape.

    Args:
        report: The run's.
        notebook: The notebook's path.
        output: The output's; None for nowhere.
        orders: What the session is to do besides recording; their `path` and `facts` are filled in here.
        facts: About the run.
        named: Where the tape goes; empty for beside the output.
        records: Whether there is a tape at all.
        resumes: The run that this one continues.
        plan: Where to write what the run would do.

    Raises:
        HostBridgeError: Something can't be written where it should be.
    """

    def __init__(
        self,
        report: RunReport,
        *,
        notebook: str,
        output: str | None,
        facts: Mapping[str, Any],
        orders: TapeOrders | None = None,
        named: str = "",
        records: bool = True,
        resumes: str = "",
        plan: str = "",
    ) -> None:
        self._report = report
        self._orders = orders or TapeOrders()
        self._facts = {**facts, "run_id": report.run_id, "started": report.started.isoformat()}
        # A run that only tries leaves the tape of the run that did alone.
        self._target = (named or ("" if plan else _beside(output))) if records else ""
        self._plan = plan
        self._plan_file = LocalFile(plan, makes_folder=True) if plan else None
        self._notebook = notebook
        self._destination = LocalFile(self._target, mode=0o600, makes_folder=True) if self._target else None
        self._records = records
        self._most = load_config().runs.kept_tapes
        self._entry = index.begin(
            report.run_id,
            notebook=notebook if is_remote(notebook) else os.path.realpath(notebook),
            output="" if output is None else output if is_remote(output) else os.path.realpath(output),
            started=report.started.isoformat(),
            principal=report.principal,
            tape=str(index.tape_path(report.run_id)) if records else "",
            resumes=resumes,
            mode=self._orders.mode,
        )

    @property
    def orders(self) -> TapeOrders:
        """What the session is told."""
        orders = self._orders
        path = str(index.tape_path(self._report.run_id)) if self._records else ""
        return TapeOrders(
            **{name: getattr(orders, name) for name in orders.__struct_fields__} | {"path": path, "facts": self._facts}
        )

    def finish(self, session: BridgeSession) -> None:
        """Take over what a session that is over has left: its tape, and where a replay differed."""
        if session.ended is not None:
            self._note_divergences(session.ended)
        path = index.tape_path(self._report.run_id)
        if not self._records or not path.exists():
            return
        try:
            root, facts = self._read(str(path), session.ended)
            self._report.tape = {
                "file": "",
                "root": root,
                **{name: facts[name] for name in TOLD_FACTS if name in facts},
            }
            self._entry.tape_root = root
            if self._plan_file is not None:
                self._write_plan(str(path), self._plan_file)
            self._put_beside()
        except (TapeError, OutputError, index.RunsError) as error:
            self._report.warn(f"{error}; the run's tape is {path}")

    def close(self, scraps: Mapping[str, Any]) -> str:
        """Write how the run ended into the index. Gives why it couldn't be, empty if it could: the run's result is told."""
        report, entry = self._report, self._entry
        entry.state = str(report.state)
        if report.state is State.RUNNING:  # it never came to run
            entry.state = str(State.FAILED)
        entry.ended = (report.ended or report.started).isoformat()
        entry.duration_seconds = round(report.duration_seconds(), 3)
        entry.cells_executed = report.cells_executed
        entry.failed_cell = report.failed_cell.index if report.failed_cell else None
        entry.error = report.error or (report.failed_cell.evalue[:1000] if report.failed_cell else "")
        entry.principal, entry.profile = report.principal, report.profile
        entry.tool_calls = report.tool_calls
        entry.scraps = index.kept_scraps(dict(scraps))
        try:
            with kept_tapes.turn():
                self._follow_tape()
                index.write(entry)
        except index.RunsError as error:
            return f"how the run ended is not in the index of runs: {error}"
        return ""

    def _follow_tape(self) -> None:
        """Heed that a run which ended since may have taken the tape's place."""
        now = index.current(self._entry.run_id)
        if now is not None and (now.tape_was or now.tape_gone):
            self._entry.tape, self._entry.tape_was, self._entry.tape_gone = now.tape, now.tape_was, now.tape_gone

    def _note_divergences(self, ended: Ended) -> None:
        for text in ended.divergences:
            self._report.warn(text)
        if ended.divergences:
            self._report.fail(State.FAILED, ended.divergences[0])

    def _read(self, path: str, ended: Ended | None) -> tuple[str, dict[str, Any]]:
        root = ended.tape_root if ended is not None else ""
        if not root:
            root = make_whole(path)
            self._report.warn(
                "the bridge session ended before its time; calls that were under way are on the tape as unknown"
            )
        with TapeReader(path) as reader:
            return root, reader.facts()

    def _write_plan(self, path: str, destination: LocalFile) -> None:
        with TapeReader(path) as reader:
            plan = plan_of(reader.calls(), reader.facts(), self._notebook)
        destination.write([msgspec.json.format(msgspec.json.encode(plan), indent=2), b"\n"], last=True)
        effects = [str(effect) for effect in plan.effects]
        self._report.plan = {"file": self._plan, "hash": plan.hash, "effects": effects, "unseen": list(plan.unseen)}

    def _put_beside(self) -> None:
        if self._destination is None:
            return
        if self._orders.mode == "replay" and os.path.realpath(self._target) == os.path.realpath(self._orders.earlier):
            self._report.warn("the tape that was replayed stays as it is; --tape puts the replay's own elsewhere")
            return
        destination = self._destination
        kept_tapes.put_beside(
            self._entry, destination.path, lambda pieces: destination.write(pieces, last=True), self._most
        )
        self._report.tape["file"] = os.path.basename(self._target)  # noqa: PTH119


def facts_of_run(source_digest: str, parameters: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """Give what names a run's inputs. Of a secret parameter only the name: a digest of it could be guessed at."""
    digests = {name: sha256(canonical_json(value)) for name, value in parameters.items()}
    digests |= dict.fromkeys(secrets, "secret")
    return {
        "source_digest": source_digest,
        "parameters_digest": sha256(canonical_json(digests)),
        "parameters": digests,
        **_machine(),
    }


def _machine() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    return {
        "environment": {
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
        },
        "versions": {name: version(name) for name in ("hermes-runtime", "ipykernel", "papermill")},
    }


def _beside(output: str | None) -> str:
    if output is None or output == "-" or is_remote(output):
        return ""
    return f"{output.removesuffix('.ipynb')}.tape"

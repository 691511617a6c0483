"""How the tool calls of two runs differ, from their tapes: what was reached that wasn't before, and what gave something else.

A tape is believed to be of a notebook if its root hash is the one that the notebook names.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from host_bridge.audit.recorded_calls import UnreadableCallError, recorded_resources
from host_bridge.errors import TapeError
from host_bridge.executor.call_changes import CallChanges, differing_counts
from host_bridge.executor.documents import Document, metadata_of
from host_bridge.policy.model import PathResource, UrlResource
from host_bridge.policy.patterns import KINDS_BY_TOOL
from host_bridge.runs import index
from host_bridge.tape.format import canonical_json
from host_bridge.tape.matching import shown_call
from host_bridge.tape.reader import Recorded, TapeReader

_VARYING = frozenset({"duration_seconds"})  # of a command: another one each time
_MAX_SHOWN = 100


def find_tape(path: str | os.PathLike[str], notebook: Document) -> str:
    """Give an executed notebook's tape: the one beside it, or the one that the index of runs knows; empty if there is none."""
    hermes = metadata_of(notebook).get("hermes")
    run = hermes.get("run") if isinstance(hermes, Mapping) else None
    said = run.get("tape") if isinstance(run, Mapping) else None
    root = said.get("root") if isinstance(said, Mapping) else None
    if not root or not isinstance(root, str):
        return ""
    beside = [Path(path).with_suffix(".tape")] if os.fspath(path) else []
    for tape in filter(Path.is_file, beside):
        if _has_root(str(tape), root):
            return str(tape)
    entry = index.with_root(root)  # a later run to the same output has its own there
    return entry.tape if entry is not None and entry.tape and _has_root(entry.tape, root) else ""


def _has_root(tape: str, root: str) -> bool:
    with contextlib.suppress(TapeError), TapeReader(tape) as reader:
        return reader.root() == root
    return False


def taped_changes(before: str, after: str) -> CallChanges:
    """Compare two tapes.

    Raises:
        TapeError: One can't be read.
    """
    with TapeReader(before) as old, TapeReader(after) as new:
        earlier, later = _Calls(old), _Calls(new)
    return CallChanges(
        differing_counts(earlier.tools, later.tools),
        differing_counts(earlier.outcomes, later.outcomes),
        sorted(later.hosts - earlier.hosts)[:_MAX_SHOWN],
        sorted(later.paths - earlier.paths)[:_MAX_SHOWN],
        [
            shown
            for key, (result, shown) in later.results.items()
            if earlier.results.get(key, (result, ""))[0] != result
        ][:_MAX_SHOWN],
    )


class _Calls:
    """What a tape's calls come to.

    Attributes:
        results: What equal calls gave, by tool, arguments and how many came before: a digest, and the call as shown.
    """

    def __init__(self, tape: TapeReader) -> None:
        calls = tape.calls()
        workspace = str(tape.facts().get("workspace", ""))
        self.tools = collections.Counter(call.row.tool for call in calls)
        self.outcomes = collections.Counter(
            "unknown" if call.outcome is None else call.outcome.outcome for call in calls
        )
        self.hosts: set[str] = set()
        self.paths: set[str] = set()
        self.results: dict[tuple[str, int], tuple[str, str]] = {}
        seen: collections.Counter[str] = collections.Counter()
        for call in calls:
            self._reach(call, workspace)
            digest = call.row.arguments_digest
            shown = shown_call(call.row.tool, call.row.arguments)
            self.results[digest, seen[digest]] = (_result_digest(tape, call), shown)
            seen[digest] += 1

    def _reach(self, call: Recorded, workspace: str) -> None:
        if call.row.tool not in KINDS_BY_TOOL or call.row.effect == "deny":
            return
        try:
            found = recorded_resources(call.row.tool, _json(call.row.canonical), workspace)
        except UnreadableCallError:
            return
        for one in found:
            if isinstance(one, UrlResource):
                self.hosts.add(one.host)
            elif isinstance(one, PathResource):
                self.paths.add(one.path if one.relative is None else one.relative or ".")


def _result_digest(tape: TapeReader, call: Recorded) -> str:
    """Name what a call gave: its result without what is another each time, and its streams, however they were cut."""
    if call.outcome is None:
        return "unknown"
    digest = hashlib.sha256(f"{call.outcome.outcome}\n{call.outcome.failure}\n".encode())
    value = None if call.outcome.outcome != "ok" else tape.value(call)
    digest.update(canonical_json(_lasting(value)))
    streams: dict[str, Any] = {}
    for piece in tape.pieces(call.row.seq):
        streams.setdefault(piece.name, hashlib.sha256()).update(piece.data)
    for name in sorted(streams):
        digest.update(f"{name} {streams[name].hexdigest()}\n".encode())
    return digest.hexdigest()


def _lasting(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lasting(item) for key, item in value.items() if key not in _VARYING}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_lasting(item) for item in value]
    return value


def _json(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableCallError("its arguments are no JSON") from None

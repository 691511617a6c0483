"""What one session is and has left: its facts, its budgets, and which cell runs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from hermes_protocol.messages import Budget
from host_bridge.control import SessionConfig
from host_bridge.errors import BudgetError, DeniedError
from host_bridge.secrets import vault

COUNTED = ("calls", "concurrent_calls", "bytes", "seconds")
"""The budgets there are. `bytes` and `seconds` are settled after each call, the others reserved before it."""


class Budgets:
    """What a session may still use. Thread-safe and exact: a call is reserved before it is decided.

    `bytes` counts what calls gave back, `seconds` how long they took. Both are known only afterwards, so the call that crosses
    the limit finishes and the next one is refused.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = dict(limits)
        self._used: dict[str, float] = dict.fromkeys(COUNTED, 0)
        self._lock = threading.Lock()

    def reserve(self) -> None:
        """Take one call.

        Raises:
            BudgetError: Nothing is left of something; nothing was taken.
        """
        with self._lock:
            for name, limit in self._limits.items():
                if self._used[name] >= limit:
                    raise BudgetError(
                        f"the session's budget of {limit:g} {name.replace('_', ' ')} is used up; "
                        f"a person can raise it in the host's configuration ([budgets] {name})"
                    )
            self._used["calls"] += 1
            self._used["concurrent_calls"] += 1

    def settle(self, result_bytes: int, seconds: float) -> None:
        """Give back what a finished call held and count what it used."""
        with self._lock:
            self._used["concurrent_calls"] -= 1
            self._used["bytes"] += result_bytes
            self._used["seconds"] += seconds

    def snapshot(self) -> tuple[Budget, ...]:
        """All counters as they stand."""
        with self._lock:
            return tuple(
                Budget(name=name, used=float(used), limit=self._limits.get(name)) for name, used in self._used.items()
            )


class SessionState:
    """One kernel's conversation, as the host keeps it; implements `tools.interface.Session`.

    Attributes:
        config: What the host application opened the session with.
        resources: What tools keep for the session; closed with it.
        vault: The secrets that its calls may be given.
        cell_index: The cell that runs, None between cells. Meaningful only if `config.marks_cells`.
    """

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.budgets = Budgets(config.budgets)
        self.vault = vault.Vault(config.secret_uses, principal=config.principal, workspace=config.workspace)
        self.resources: dict[str, Any] = {vault.RESOURCE: self.vault.values}
        self.cell_index: int | None = None

    @property
    def workspace(self) -> str:
        """See `Session`."""
        return self.config.workspace

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Session`."""
        return self.config.tool_settings

    @property
    def environment(self) -> Mapping[str, str]:
        """See `Session`."""
        return self.config.environment

    def check_cell(self) -> None:
        """Refuse a call that belongs to no running cell: state may outlive a cell, authority doesn't.

        Raises:
            DeniedError: The host says which cell runs, and none does.
        """
        if self.config.marks_cells and self.cell_index is None:
            raise DeniedError(
                "no cell is running: a thread or task left over from a finished cell may not call tools; "
                "wait for it inside the cell",
                rule_id="session:cell",
            )

    def close(self) -> None:
        """Close what the tools kept."""
        for resource in self.resources.values():
            close = getattr(resource, "close", None)
            if close is not None:
                close()
        self.resources.clear()


def call_digest(tool: str, shown: Mapping[str, Any]) -> str:
    """Name a normalised call: equal calls have equal digests, whatever order their arguments came in."""
    return hashlib.sha256(msgspec.json.encode([tool, shown], order="sorted")).hexdigest()

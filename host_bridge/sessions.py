"""What one session is and has left: its facts, its budgets, and which cell runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from host_bridge.budgets import Budgets
from host_bridge.control import SessionConfig
from host_bridge.errors import DeniedError
from host_bridge.secrets import vault
from host_bridge.taint import Taint


class SessionState:
    """One kernel's conversation, as the host keeps it; implements `tools.interface.Session`.

    Attributes:
        config: What the host application opened the session with.
        resources: What tools keep for the session; closed with it.
        vault: The secrets that its calls may be given.
        budgets: What it may still use.
        taint: Whether it has been given untrusted content.
        cell_index: The cell that runs, None between cells. Meaningful only if `config.marks_cells`.
    """

    def __init__(self, config: SessionConfig) -> None:
        self.config = config
        self.budgets = Budgets(config.budgets)
        self.taint = Taint()
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

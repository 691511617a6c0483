"""What a run is told about itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from host_bridge.executor.limits import DEFAULT_LIMITS, OutputLimits
from host_bridge.executor.report import CellProgress

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from host_bridge.provisioning.session import BridgeSession


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How to run the cells.

    Attributes:
        run_timeout_seconds: For the whole run, kernel start included; None for as long as it takes.
        cell_timeout_seconds: For each cell.
        start_timeout_seconds: For the kernel to answer.
        grace_seconds: What an interrupted cell has to end by itself before its kernel is killed.
        allow_errors: Go on after a cell that failed. The run has failed all the same, and the first such cell is reported.
        limits: How much of the outputs is kept.
        secrets: Parameters by name that the kernel gets and nothing else does: kept out of all that is written.
        parameters_are_set: Finds the cell after which all other parameters are set, and the kernel gets the secrets; None for
            before the first.
        log_output: Whether outputs go to papermill's log.
        stdout_file: Gets what cells print.
        stderr_file: Gets what they print to standard error.
        on_progress: Told of each cell's start and end.
        shutdown_now: Kill the kernel at the end instead of letting it end.
        on_session_over: Told of the bridge session once it is over, before the run's end is written.
        client_settings: Further settings of nbclient's `NotebookClient`.
    """

    run_timeout_seconds: float | None = None
    cell_timeout_seconds: float | None = None
    start_timeout_seconds: float = 60.0
    grace_seconds: float = 5.0
    allow_errors: bool = False
    limits: OutputLimits = DEFAULT_LIMITS
    secrets: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    parameters_are_set: Callable[[NotebookNode], int | None] = lambda notebook: None
    log_output: bool = False
    stdout_file: TextIO | None = None
    stderr_file: TextIO | None = None
    on_progress: Callable[[CellProgress], None] | None = None
    shutdown_now: bool = False
    on_session_over: Callable[[BridgeSession], None] | None = None
    client_settings: dict[str, Any] = dataclasses.field(default_factory=dict)

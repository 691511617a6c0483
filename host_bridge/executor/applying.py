"""`--apply`: a run that does what its plan says, or nothing."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_bridge.errors import TapeError
from host_bridge.signals import heed_cancellation
from host_bridge.tape.plan import read_plan

if TYPE_CHECKING:
    from host_bridge.executor.executor import RunOptions
    from host_bridge.executor.stopping import StopRequest


def check_plan(
    input_path: str,
    parameters: Mapping[str, Any] | str | os.PathLike[str] | None,
    timeout: float | None,
    options: RunOptions,
    stop: StopRequest,
) -> None:
    """Try the run once more, and compare what it would do with its plan. Nothing is done by that.

    Raises:
        TapeError: It would do something else; names what. Or the host application cancelled it.
        KeyboardInterrupt, EndedBySignal: A signal ended it.
    """
    from host_bridge.executor.preparing import Preparation

    plan = read_plan(os.fspath(options.apply))
    with tempfile.TemporaryDirectory(prefix="hermes-plan-") as folder:
        fresh = Path(folder, "plan.json")
        again = dataclasses.replace(options, apply="", plan=fresh, tape="", progress=False)
        preparation = Preparation(input_path, None, timeout, again, stop)
        preparation.read(parameters)
        result = preparation.run()
        if stop.signal_number:
            heed_cancellation(result, what="nothing was done")
        if stop:
            raise TapeError(f"cancelled before anything was done: {stop.reason}")
        now = read_plan(str(fresh))
    if now.hash != plan.hash:
        differences = "; ".join(plan.differences(now)) or "the same effects, differently"
        raise TapeError(
            f"the run would do something else than its plan, so nothing was done: {differences}; make a new plan"
        )

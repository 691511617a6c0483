"""Waiting for what nobody tells a test: that a process is gone, that a file is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

WAIT_SECONDS = 20.0


def until(
    condition: Callable[[], Any], seconds: float = WAIT_SECONDS, *, otherwise: str = "it did not come true"
) -> Any:
    """Wait until something holds, and give it.

    Args:
        condition: Asked again and again, with pauses that leave the processor to what is waited for.
        seconds: For how long at most.
        otherwise: What to say then.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{otherwise} within {seconds:g} s"
        time.sleep(0.005)
    return value

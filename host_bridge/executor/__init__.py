"""Running notebooks, and reading what came of it. The outermost part of the host but for the command line.

    NotebookExecutor     a notebook in, a truthful result out
    engine.HermesEngine  the same for papermill: `papermill --engine hermes`

Papermill loads this package whenever it starts, so nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from host_bridge.executor.executor import NotebookExecutor

__all__ = ["NotebookExecutor"]


def __getattr__(name: str) -> Any:
    if name == "NotebookExecutor":
        from host_bridge.executor.executor import NotebookExecutor

        return NotebookExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

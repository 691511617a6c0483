"""ipykernel's debugger, imported once somebody debugs.

It brings debugpy along, a fifth of what a kernel needs to start, and hardly any kernel is debugged. Until a debugger's first
request a stand-in is there, under the module's name, which ipykernel imports from.
"""

# ipykernel's debugger is not annotated.

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
import types
from typing import Any

_NAME = "ipykernel.debugger"


class LateDebugger:
    """Stands for ipykernel's debugger. What it is asked, it is asked on the control thread.

    Args:
        *arguments: Those of ipykernel's.
    """

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._debugger: Any = None
        self._made = asyncio.Event()

    async def process_request(self, message: dict[str, Any]) -> Any:
        """Answer a request; None where debugpy can't be used after all."""
        if self._debugger is None:
            module = _import()
            if not module._is_debugpy_available:
                return None
            self._debugger = module.Debugger(*self._arguments)
            self._made.set()
        return await self._debugger.process_request(message)

    async def handle_stopped_event(self) -> None:
        """Wait until the program stops, which it does for nobody who hasn't asked for anything."""
        await self._made.wait()
        await self._debugger.handle_stopped_event()

    @property
    def tcp_client(self) -> Any:
        """Who hears debugpy: it speaks only after a request."""
        return self._debugger.tcp_client


def install() -> None:
    """Put the stand-in in place. Does nothing where the debugger is there already, or there is no debugpy."""
    if _NAME in sys.modules or importlib.util.find_spec("debugpy") is None:
        return
    module = types.ModuleType(_NAME, __doc__)
    vars(module).update(_is_debugpy_available=True, Debugger=LateDebugger, __getattr__=_from_the_real_one)
    sys.modules[_NAME] = module


def _from_the_real_one(name: str) -> Any:
    if name.startswith("__"):  # what Python itself asks each module for
        raise AttributeError(name)
    return getattr(_import(), name)


def _import() -> Any:
    """Import the real one in the stand-in's place."""
    if sys.modules[_NAME].__spec__ is None:  # which nothing has that was imported
        del sys.modules[_NAME]
    return importlib.import_module(_NAME)

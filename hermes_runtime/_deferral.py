"""Ctrl-C at safe points only: while a call uses the shared socket, SIGINT's handler waits until the call can be left.

`KeyboardInterrupt` may be raised between any two bytecodes of the main thread, and pyzmq raises it even after a frame was
taken off the socket. One at the wrong place would lose a message, tear a multipart send, or leave a lock held. So while a
call is under way in the main thread the handler is replaced by one that takes a note and wakes the poll; the noted
interrupt is then delivered to the handler it was meant for, at a place where everything is in order.
"""

from __future__ import annotations

# signal.signal() spends 5 µs on turning numbers into enums; this is the function below it, 0.3 µs.
import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from hermes_runtime._wakers import Waker

_SIGINT = int(_signal.SIGINT)

Handler = Callable[[int, FrameType | None], Any]

_main_thread = threading.main_thread().ident
_current: Deferral | None = None


class Deferral:
    """A context in which SIGINT is only noted. Does nothing outside the main thread, where Python runs no handlers.

    Args:
        waker: Woken by an interrupt, so that a poll which includes it returns.

    Attributes:
        passing: While true, interrupts go through to the handler at once: for code that isn't ours.
    """

    __slots__ = ("_handler", "_is_active", "_noted", "_outer", "_waker", "passing")

    def __init__(self, waker: Waker | None = None) -> None:
        self._waker = waker
        self._handler: Handler | None = None
        self._outer: Deferral | None = None
        self._is_active = False
        self._noted = 0
        self.passing = False

    def __enter__(self) -> Deferral:
        global _current
        if threading.get_ident() == _main_thread:
            handler = _real_handler()
            if callable(handler):  # SIG_DFL, SIG_IGN and handlers of C code raise nothing into Python
                self._handler = handler
                self._outer, _current = _current, self
                _signal.signal(_SIGINT, self._note)
                self._is_active = True
        return self

    def __exit__(self, *_: object) -> None:
        global _current
        handler = self._handler
        if handler is None:
            return
        self._is_active = False
        _signal.signal(_SIGINT, handler)
        _current = self._outer
        self._handler = None
        if self._noted:
            self._noted = 0
            handler(_SIGINT, None)

    def deliver(self) -> None:
        """Hand a noted interrupt to its handler, which usually raises `KeyboardInterrupt`."""
        __tracebackhide__ = True
        if self._noted and self._handler is not None:
            self._noted = 0
            self._handler(_SIGINT, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        if (self.passing or not self._is_active) and self._handler is not None:
            self._handler(number, frame)
            return
        self._noted += 1
        if self._waker is not None:
            self._waker.wake()


def _real_handler() -> Any:
    """Give SIGINT's handler, looking through one of ours whose context an exception tore apart while it was entered or left."""
    handler = _signal.getsignal(_SIGINT)
    while isinstance(owner := getattr(handler, "__self__", None), Deferral) and not owner._is_active:
        handler = owner._handler
    return handler


def after_fork_in_child() -> None:
    """Make the forking thread the main one, and give its process back the handler another thread had replaced."""
    global _main_thread, _current
    deferral, ours = _current, threading.get_ident() == _main_thread
    _main_thread = threading.get_ident()
    if deferral is not None and not ours:
        while deferral._outer is not None:
            deferral = deferral._outer
        _current = None
        if deferral._handler is not None:
            _signal.signal(_SIGINT, deferral._handler)

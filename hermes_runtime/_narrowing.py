"""What the running code has narrowed itself to: where it is kept, and who inherits it.

It is a context variable, so a task of an event loop has that of the code that made it. A thread begins without a context, and
a pool's threads may have been started by anybody, so the first narrowing of a process teaches both: `Thread.start` hands on
what its caller is narrowed to, and a `ThreadPoolExecutor` runs each job under what whoever submitted it is narrowed to. A
forked process is a copy of the thread that forked it. Not covered: threads made by `_thread` or by native code, and jobs given
to other pools that existed before the block.

Nothing here enforces anything: the bridge does, by what each request carries.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from typing import Any

Levels = tuple[tuple[str, ...], ...]
"""Lists of rules, outermost block first. A call has to pass every one."""

ACTIVE: contextvars.ContextVar[Levels] = contextvars.ContextVar("hermes_narrowing", default=())
"""The levels in force here."""

_MARK = "_hands_on_narrowing"


def hand_on_to_threads() -> None:
    """Have threads and jobs inherit, from now on; a second time does nothing."""
    from concurrent.futures import ThreadPoolExecutor

    if not hasattr(threading.Thread.start, _MARK):
        threading.Thread.start = _starting(threading.Thread.start)  # type: ignore[method-assign, assignment]
    if not hasattr(ThreadPoolExecutor.submit, _MARK):
        ThreadPoolExecutor.submit = _submitting(ThreadPoolExecutor.submit)  # type: ignore[method-assign]


def _starting(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def narrowed_start(thread: threading.Thread) -> None:
        levels = ACTIVE.get()
        if not levels:
            start(thread)
            return
        own, run = vars(thread).get("run"), thread.run

        def narrowed_run() -> None:
            restore()
            ACTIVE.set(levels)  # in the thread's own context, which ends with it
            run()

        def restore() -> None:
            if own is None:
                vars(thread).pop("run", None)
            else:
                vars(thread)["run"] = own

        vars(thread)["run"] = narrowed_run
        try:
            start(thread)
        except BaseException:
            restore()
            raise

    setattr(narrowed_start, _MARK, True)
    return narrowed_start


def _submitting(submit: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(submit)
    def narrowed_submit(pool: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(pool, _Job(function, ACTIVE.get()), *args, **kwargs)

    setattr(narrowed_submit, _MARK, True)
    return narrowed_submit


class _Job:
    """A function that runs under what its submitter was narrowed to, whichever thread runs it."""

    __slots__ = ("_function", "_levels")

    def __init__(self, function: Callable[..., Any], levels: Levels) -> None:
        self._function = function
        self._levels = levels

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = ACTIVE.set(self._levels)
        try:
            return self._function(*args, **kwargs)
        finally:
            ACTIVE.reset(token)

"""Doing an operation in the calling thread: step, wait, step, until it is settled."""

from __future__ import annotations

import time
from typing import Any, TypeVar

from hermes_protocol.messages import StatusReply, ToolReply
from hermes_runtime._call_site import call_site
from hermes_runtime._calls import Call, Operation
from hermes_runtime._client import Client, current
from hermes_runtime._deferral import Deferral
from hermes_runtime._errors import HermesError, error_from
from hermes_runtime._transport import Link
from hermes_runtime._wakers import Waker, thread_waker

R = TypeVar("R")


def run(operation: Operation[R]) -> R:
    """Do an operation and wait for its result, in the calling thread.

    Raises:
        HermesError: Whatever ended it otherwise.
        KeyboardInterrupt: It was interrupted, and the bridge told to stop it.
    """
    __tracebackhide__ = True
    client = current()
    waker = thread_waker()
    call = Call(operation, waker, time.monotonic() + operation.timeout_seconds, call_site(), blocking=True)
    with Deferral(waker) as interrupts:
        try:
            while True:
                if client.step(call):
                    if call.chunks:
                        interrupts.passing = True
                        consume(call)
                        interrupts.passing = False
                    if call.is_done:
                        break
                else:
                    _wait(call, waker)
                interrupts.deliver()
        except BaseException:
            interrupts.passing = False  # first of all: from here on nothing may come between
            client.abandon(call)
            raise
    value: R = finish(call, client)
    return value


def _wait(call: Call, waker: Waker) -> None:
    link: Link | None = call.link
    milliseconds = max(0.0, call.wait_until - time.monotonic()) * 1000 + 1
    if link is not None and link.leading is call:
        waker.wait_for(link, link.descriptors, milliseconds)
    else:
        waker.wait(milliseconds)


def consume(call: Call) -> None:
    """Hand a call's chunks to its operation."""
    operation = call.operation
    for stream, data in call.chunks:
        call.consumed_bytes += len(data)
        operation.take(stream, data)
    call.chunks = []


def finish(call: Call, client: Client) -> Any:
    """Give a settled call's value, or raise what it means."""
    __tracebackhide__ = True
    operation, reply = call.operation, call.reply
    link: Link | None = call.link
    welcome = link.welcome if link is not None else None
    error: HermesError | None = call.error
    if reply is None:
        assert error is not None
        raise operation.fail(error, welcome)
    if isinstance(reply, StatusReply) and reply.failure is None:
        return operation.answer(welcome, reply)  # type: ignore[attr-defined]
    if reply.failure is not None:
        raise operation.fail(error_from(reply.failure), welcome)
    assert isinstance(reply, ToolReply)
    return operation.finish(reply.result, dict(zip(reply.bulk, call.bulk, strict=True)))

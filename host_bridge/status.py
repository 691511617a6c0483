"""What a kernel is told when it asks how its session stands."""

from __future__ import annotations

from hermes_protocol.messages import NARROWING_SINCE, Failure, StatusReply, StatusRequest
from host_bridge.errors import InvalidCallError
from host_bridge.narrowing import Narrowings
from host_bridge.policy.display import one_line
from host_bridge.sessions import SessionState

MAX_SOURCE_CHARACTERS = 200  # of where untrusted content came from; the message allows 256


def status_reply(
    request: StatusRequest, session: SessionState, narrowings: Narrowings, *, open_calls: int, version: int
) -> StatusReply:
    """Answer a status request, in a version of the protocol."""
    budgets = session.budgets.snapshot()
    if version < NARROWING_SINCE:
        return StatusReply(id=request.id, budgets=budgets, open_calls=open_calls)
    failure = None
    try:
        narrowings.layers(request.narrow)
    except InvalidCallError as error:
        failure = Failure(code=error.code, message=str(error)[:16_000])
    return StatusReply(
        id=request.id,
        budgets=budgets,
        open_calls=open_calls,
        failure=failure,
        narrow=narrowings.levels(request.narrow),
        untrusted=one_line(session.taint.source, MAX_SOURCE_CHARACTERS),
        untrusted_count=session.taint.count,
    )

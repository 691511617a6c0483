"""The process's client: keeps a link to the bridge, and takes calls step by step from asked to settled.

One DEALER serves all threads and event loops of the process, without a thread of its own. `step` does, under one lock and
without waiting, all that can be done for a call now. Who has to wait then does so outside the lock:

- A thread *leads* if no other does: it polls the link's descriptors and so takes in what comes for everybody. The others
  *follow*: each waits for its own alarm. Whoever takes in something for another call wakes it, and a leader that leaves
  wakes a follower to lead.
- An event loop watches the descriptors itself (see `aio`).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from pathlib import Path

import zmq

from hermes_protocol.messages import Welcome
from hermes_protocol.ticket import Ticket
from hermes_runtime import _deferral, _settings, _wakers
from hermes_runtime._calls import Call
from hermes_runtime._errors import BridgeUnavailableError
from hermes_runtime._sockets import Context
from hermes_runtime._transport import GOODBYE_MILLISECONDS, Link

CONNECT_SECONDS = 10.0  # the bridge starts while the kernel does, and a loaded machine takes its time
RECONNECT_SECONDS = 3.0  # a bridge that was there once needs no time to start
LEADERLESS_SECONDS = 1.0  # a leader that is so late with what is due was torn out of its wait


class Client:
    """See the module.

    Args:
        ticket: Where the bridge is, None where there is none.
        problem: Why there is no ticket, if one was expected.
        owner: The process the ticket was given to; this one if 0.
    """

    def __init__(
        self, ticket: Ticket | None, problem: str = "", *, connect_seconds: float = CONNECT_SECONDS, owner: int = 0
    ) -> None:
        self.ticket = ticket
        self._owner = owner or os.getpid()
        self._problem = problem
        self._connect_seconds = connect_seconds
        self._inherited: list[object] = []
        self.known_narrowings: set[tuple[str, ...]] = set()
        """Lists of rules that this session's bridge took for rules."""
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._context: Context | None = None
        self._link: Link | None = None
        self._was_welcome = False
        self._in_step = False

    @property
    def welcome(self) -> Welcome | None:
        """What the bridge said about the session, None while there is no connection."""
        link = self._link
        return link.welcome if link is not None and link.failure is None else None

    def step(self, call: Call) -> bool:
        """Do for a call what can be done without waiting.

        Returns:
            Whether there is something for the caller: `call.chunks`, or the call is settled. If not, the caller is counted as
            waiting, until `call.wait_until` at the latest; it leads if `call.link.leading` is the call.
        """
        if self._process_id != os.getpid():
            self.after_fork_in_child()  # forked without Python's knowledge
        now = time.monotonic()
        with self._lock:
            self._begin_step()
            call.waiting = False
            link = self._link_for(call, now)
            is_late = link is not None and now > link.due + LEADERLESS_SECONDS
            if link is not None:
                self._advance(call, link, now)
            call.chunks, call.arrived = call.arrived, []
            call.is_done = call.is_settled
            ready = call.is_done or bool(call.chunks)
            if link is not None:
                self._place(call, link, ready, is_late)
            self._in_step = False
        return ready

    def abandon(self, call: Call) -> None:
        """Leave a call: the bridge is told to stop it, and what still comes for it is dropped."""
        with self._lock:
            link = call.link
            if link is None or self._process_id != os.getpid():
                return
            self._begin_step()
            link.leave(call)
            if not call.is_settled and link.failure is None:
                link.give_up(call)
                link.drain()
            link.hand_over()
            self._in_step = False

    def drain(self, link: Link) -> None:
        """Take in what has arrived on a link."""
        with self._lock:
            self._begin_step()
            link.drain()
            self._in_step = False

    def close(self) -> None:
        """Say goodbye; the next call connects anew."""
        with self._lock:
            if self._process_id != os.getpid():
                return
            if self._link is not None:
                self._link.say_goodbye()
                self._link.close()
                self._link = None
            if self._context is not None:
                self._context.destroy(GOODBYE_MILLISECONDS)
                self._context = None

    def after_fork_in_child(self) -> None:
        """Leave the parent's connection alone, and begin without one."""
        # Kept, so that nothing of it is ever closed here: its descriptors and its state are the parent's.
        self._inherited += [self._context, self._link]
        if self._link is not None:
            self._link.failure = BridgeUnavailableError(
                "the call was made by the process that this one was forked from"
            )
        self._start_afresh()

    def _begin_step(self) -> None:
        """With the lock held: make sure that the last one who held it finished."""
        if self._in_step and self._link is not None:
            # An exception thrown into the thread from outside (a SIGALRM handler's, say) tore a step apart. What it left
            # may be half a message, and nothing that comes after half a message can be trusted.
            self._link.fail(
                "an exception raised by a signal handler interrupted this process while it used the connection"
            )
        self._in_step = True

    def _link_for(self, call: Call, now: float) -> Link | None:
        """Give the link a call is on, or should be; None if there is none and `call.error` says why."""
        link: Link | None = call.link
        if link is not None and link.failure is None:
            return link
        if link is not None and (call.is_settled or call.id or link.welcome is None):
            if not call.is_settled:
                call.error = (
                    self._unavailable(str(link.failure)) if not call.id else BridgeUnavailableError(str(link.failure))
                )
            return link
        link = self._link
        if link is not None and link.failure is None:
            link.look()  # it may have died while nobody waited
        if link is None or link.failure is not None:
            try:
                link = self._link = self._connect(link)
            except BridgeUnavailableError as error:
                call.error = error
                return None
        call.link = link
        return link

    def _connect(self, old: Link | None) -> Link:
        if self.ticket is None:
            raise self._unavailable(self._problem or "this kernel was started without a bridge")
        if self.ticket.bridge_dials and os.getpid() != self._owner:
            raise BridgeUnavailableError(
                "this process was forked from the kernel's, and where kernels are confined by Landlock alone, the bridge "
                "reaches the kernel's own process only: call tools there, or have the host install bubblewrap"
            )
        if old is not None:
            old.close()  # it failed, but may have been torn out of that
        lost = f" (before that: {old.failure})" if old is not None else ""
        path = self.ticket.endpoint.removeprefix("ipc://")
        is_file = path != self.ticket.endpoint and not self.ticket.bridge_dials
        if self._was_welcome and is_file and not Path(path).exists():
            raise BridgeUnavailableError(f"the bridge session has ended{lost}. Restart the kernel to get a new one.")
        if self._context is None:
            self._context = Context()
        try:
            return Link(self.ticket, self._context, RECONNECT_SECONDS if self._was_welcome else self._connect_seconds)
        except (zmq.ZMQError, ValueError, OSError) as error:
            does = "listen at" if self.ticket.bridge_dials else "connect to"
            raise self._unavailable(f"can't {does} {self.ticket.endpoint}: {error}") from None

    def listen(self) -> None:
        """Be there for a bridge that dials in, before anything is called. Nothing to do where the kernel connects.

        Raises:
            BridgeUnavailableError: The endpoint can't be bound; a call would say so again.
        """
        if self.ticket is not None and self.ticket.bridge_dials:
            with self._lock:
                if self._link is None:
                    self._link = self._connect(None)

    def _unavailable(self, reason: str) -> BridgeUnavailableError:
        if self._was_welcome:
            return BridgeUnavailableError(f"{reason}. Restart the kernel to get a new bridge session.")
        return BridgeUnavailableError(f"{reason}. {_settings.HOW_TO_GET_A_BRIDGE}")

    def _advance(self, call: Call, link: Link, now: float) -> None:
        link.leave(call)
        if link.calls or link.queue:  # else nobody has waited, and nothing heard means nothing
            link.keep_time(now)  # first, since it may take in what the rest has to act on
        link.serve(call, now)
        self._was_welcome = self._was_welcome or link.welcome is not None
        link.expire(call, now)
        if link.failure is not None and not call.is_settled:
            call.wait_until = now  # it was never sent: a new link may do, the next step tries
            if link.welcome is None:
                call.error = self._unavailable(str(link.failure))

    def _place(self, call: Call, link: Link, ready: bool, is_late: bool) -> None:
        """Say who leads and who follows from here."""
        if ready or link.failure is not None:
            link.hand_over()
            return
        call.waiting = True
        call.wait_until = min(call.deadline, link.due)
        if call.blocking:
            if link.leading is None or is_late:
                link.leading = call  # polling twice harms nothing, not polling would
            else:
                link.followers[call] = None
                call.wait_until = min(call.deadline, link.due + 2 * LEADERLESS_SECONDS)  # the leader keeps the time


_current: Client | None = None
_making = threading.Lock()


def current() -> Client:
    """Give this process's client, made from its ticket at the first call."""
    global _current
    client = _current
    if client is None:
        with _making:
            client = _current = _current or Client(*_settings.session_ticket(), owner=_settings.owner())
    return client


def replace(client: Client | None) -> Client | None:
    """Use another client from now on; gives the one that was in use. For `testing`."""
    global _current
    previous, _current = _current, client
    return previous


def _after_fork_in_child() -> None:
    global _making
    _making = threading.Lock()
    _deferral.after_fork_in_child()
    _wakers.after_fork_in_child()
    if _current is not None:
        _current.after_fork_in_child()


def _at_exit() -> None:
    if _current is not None:
        with contextlib.suppress(zmq.ZMQError):  # the process ends either way
            _current.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)

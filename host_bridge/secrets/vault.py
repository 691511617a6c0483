"""The secrets of one session: which calls may have them, and their values once a call needed them.

A value is asked of the host application by the first call that may have it, and kept until the session ends: what comes back
later may hold it, and must not. A session that was never given a value looks for none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from hermes_protocol.messages import ToolRequest
from host_bridge.control import ControlMessage, SecretReply, SecretRequest, SecretUse
from host_bridge.errors import DeniedError, InvalidCallError, NotConfiguredError
from host_bridge.policy.model import Resource
from host_bridge.secrets.marks import marked_names, put_in
from host_bridge.secrets.uses import Use, read_uses
from host_bridge.secrets.veil import Values, Veil

RESOURCE = "secrets"
"""Where a session's resources have the values to hide, for tools that read output as it comes."""

_CHECK_SECONDS = 0.2


class Clock(Protocol):
    """What a wait must look at: the call that waits."""

    def check(self) -> None:
        """Raise if the call is over."""


class Vault:
    """See the module. Thread-safe.

    Args:
        specs: What the host application says.
        principal: Whom the session acts for.
        workspace: The session's.
    """

    def __init__(self, specs: Sequence[SecretUse], *, principal: str, workspace: str) -> None:
        self._specs = tuple(specs)
        self._principal = principal
        self._workspace = workspace
        self._uses: dict[str, Use] = {}
        self._send: Callable[[ControlMessage], None] | None = None
        self._learn: Callable[[str], None] | None = None
        self.values = Values()
        self._waiting: dict[str, _Answer] = {}
        self._changed = threading.Condition()

    def open(
        self,
        *,
        known_tools: Collection[str],
        send: Callable[[ControlMessage], None],
        learn: Callable[[str], None],
    ) -> None:
        """Check what was said, and be ready for calls.

        Args:
            known_tools: The tools there are, and those the host application will provide.
            send: Puts a message on the control channel.
            learn: Told of each value before anything is done with it, so that no record can hold it.

        Raises:
            ConfigurationError: A rule or host that can't be meant.
        """
        self._uses = dict(
            read_uses(
                self._specs, principal=self._principal, workspace=self._workspace, known_tools=frozenset(known_tools)
            )
        )
        self._send, self._learn = send, learn

    @property
    def names(self) -> tuple[str, ...]:
        """The secrets there are, sorted."""
        return tuple(sorted(spec.name for spec in self._specs))

    @property
    def veil(self) -> Veil | None:
        """What hides the values that are known; None while there are none."""
        return self.values.veil

    def admit(
        self, request: ToolRequest, accepts: frozenset[str] | None, resources: tuple[Resource, ...]
    ) -> tuple[str, ...]:
        """Check that a call may have the secrets it names; give their names.

        Args:
            request: The call.
            accepts: The arguments in which its tool takes secrets; None for any.
            resources: What the call is about.

        Raises:
            InvalidCallError: A secret where the tool takes none, or an ambiguous place.
            DeniedError: A secret that isn't known here, or may not go there.
        """
        names = marked_names(request.secrets, request.arguments)
        for name in names:
            if name not in self._uses:
                known = ", ".join(self.names) or "none"
                raise DeniedError(
                    f"there is no secret {name!r} for this session; there are: {known}",
                    rule_id="secrets:unknown",
                    remedy=f"a person can add [secrets.{name}] to the host's configuration",
                )
        for mark in request.secrets:
            if accepts is not None and mark.argument[0] not in accepts:
                where = f"only in {', '.join(sorted(accepts))}" if accepts else "in none of its arguments"
                raise InvalidCallError(f"{request.tool} takes no secret in {mark.argument[0]}: {where}")
        for name in names:
            self._uses[name].check(request.tool, resources)
        return names

    def use(self, name: str) -> Use:
        """Where a secret may go."""
        return self._uses[name]

    def put_in(self, value: Any, names: Collection[str], clock: Clock) -> Any:
        """Give a part of a call's arguments with the values of its secrets.

        Raises:
            NotConfiguredError: A value can't be had; says why.
            CallError: The call ended while waiting for one.
        """
        return put_in(value, names, lambda name: self._value(name, clock))

    def answer(self, reply: SecretReply) -> None:
        """Take a value from the host application. One that nobody asked for is nobody's."""
        with self._changed:
            waiting = self._waiting.pop(reply.name, None)
            if waiting is None:
                return
            if reply.value and not reply.failure:
                assert self._learn is not None
                self._learn(reply.value)
                self.values.add(reply.name, reply.value)
            waiting.failure = reply.failure or ("" if reply.value else "it is empty")
            waiting.given = True
            self._changed.notify_all()

    def _value(self, name: str, clock: Clock) -> str:
        with self._changed:
            if name in self.values:
                return self.values[name]
            answer = self._waiting.get(name)
            if answer is None:
                answer = self._waiting[name] = _Answer()
                assert self._send is not None
                self._send(SecretRequest(name=name))
            while not answer.given:
                clock.check()
                self._changed.wait(_CHECK_SECONDS)
        if answer.failure:
            raise NotConfiguredError(
                f"the secret {name} can't be had: {answer.failure}",
                remedy=f"a person can correct source in [secrets.{name}] of the host's configuration",
            )
        return self.values[name]


class _Answer:
    """What the host application says of one request for a value."""

    def __init__(self) -> None:
        self.given = False
        self.failure = ""

"""The nouns of a decision: effect, principal, resource, request, decision.

Resources are canonical before they get here: links resolved, commands parsed, URLs split. A rule never sees raw text that
somebody else could read differently.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from host_bridge.policy.layers import Layer


class Effect(enum.IntEnum):
    """What a rule, or a whole policy, answers. Ordered: the largest of several wins (`deny-overrides`)."""

    ALLOW = 1
    ASK = 2
    DENY = 3


class Access(enum.StrEnum):
    """What is done to a path. `WRITE` includes creating, replacing and deleting."""

    READ = "read"
    WRITE = "write"


@dataclasses.dataclass(frozen=True, slots=True)
class PathResource:
    """A file or folder.

    Attributes:
        path: Absolute, links resolved, no `.` or `..`.
        relative: The same from the workspace, in POSIX spelling without a leading `./`; `""` is the workspace itself;
            None when it lies outside.
        access: What is done to it.
    """

    path: str
    relative: str | None
    access: Access


@dataclasses.dataclass(frozen=True, slots=True)
class CommandResource:
    """One simple command of a shell line.

    Attributes:
        argv: Exactly what execve gets; None when the line could not be understood, which no narrow rule may allow.
        text: The line it stands in, as it will run.
        folder: The working directory, as a `PathResource` path (absolute, canonical).
    """

    argv: tuple[str, ...] | None
    text: str
    folder: str


@dataclasses.dataclass(frozen=True, slots=True)
class UrlResource:
    """A place on the network. `host` is lower case, without a trailing dot, IDNA-encoded; `path` includes the query.

    Attributes:
        method: What is asked of it, in capitals; empty for a tool whose calls have no method.
    """

    scheme: str
    host: str
    port: int
    path: str
    method: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class TextResource:
    """Anything else a rule may look at, such as a search query."""

    text: str


Resource = PathResource | CommandResource | UrlResource | TextResource


@dataclasses.dataclass(frozen=True, slots=True)
class AccessRequest:
    """What is asked: who, with which tool, on what.

    A call with several resources (a compound command, several URLs) is allowed when every one of them is; a call with none
    is matched by rules that name the tool without a pattern.

    Attributes:
        untrusted: Where the session's untrusted content came from, for people; empty while it has received none. With the
            policy's brake on, an `allow` to act becomes an ask then.
        narrowing: Further layers, as the cell asked for; they can only take away. Made by `loading.narrowing_layer`.
    """

    principal: str
    tool: str
    resources: tuple[Resource, ...] = ()
    untrusted: str = ""
    narrowing: tuple[Layer, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """The answer.

    Attributes:
        rule_id: `layer:line-or-index` of the rule that caused it, `"default"` if none matched.
        reason: For people: one sentence.
        remedy: The command a person could run to get another answer, empty when there is none.
        answer: What an `ask` came to: a person's answer or the grant used, or why there was none; empty where nobody was asked.
        question_id: The question it was the answer to.
    """

    effect: Effect
    rule_id: str = "default"
    reason: str = ""
    remedy: str = ""
    answer: str = ""
    question_id: str = ""

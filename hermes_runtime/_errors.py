"""What a tool call raises in a cell, and the one table that says which code becomes which class.

Each class is also the built-in exception a reader would expect, so that a notebook which imports nothing of ours can say
`except PermissionError`. All of them pickle, and all texts say what happened and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hermes_protocol.errors import ErrorCode
from hermes_protocol.messages import Failure


class HermesError(Exception):
    """What all errors of this package share."""


class BridgeUnavailableError(HermesError, ConnectionError):
    """There is no bridge to talk to, or it went away; the text says how to get one."""


class InvalidToolRequestError(HermesError, ValueError):
    """The arguments can't be meant: fix the call."""


class UnknownToolError(HermesError, LookupError):
    """No tool of that name."""


class MissingToolError(UnknownToolError, AttributeError):
    """`hermes.<name>` where no tool of that name exists; an `AttributeError`, as `hasattr` needs it."""


class ToolDeniedError(HermesError, PermissionError):
    """The policy, or the person asked, said no.

    Attributes:
        reason: Why.
        rule_id: The policy rule that decided, empty where none did.
        remedy: What a person could change to allow it, empty where nothing would.
    """

    def __init__(self, message: str, *, reason: str = "", rule_id: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message
        self.rule_id = rule_id
        self.remedy = remedy


class BudgetExceededError(ToolDeniedError):
    """The session has used up what it may use; `hermes.budget()` shows what is left."""


class ToolTimeoutError(HermesError, TimeoutError):
    """The call's time was up.

    Attributes:
        result: What there was until then, such as a partial `TerminalResult`; None where there is nothing.
    """

    def __init__(self, message: str, *, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


class ToolCancelledError(HermesError):
    """The call was cancelled: by this side, by the host (the cell's time was up), or because the session ended."""


class ToolFailedError(HermesError, RuntimeError):
    """The tool ran and could not do its work."""


class ToolNotFoundError(ToolFailedError, FileNotFoundError):
    """The file, process or document named doesn't exist."""


class ToolNotConfiguredError(ToolFailedError):
    """The host lacks something the tool needs; the text says what to configure."""


class ToolCommandError(ToolFailedError):
    """A command ended with an exit code other than 0. Raised by `TerminalResult.check()`.

    Attributes:
        result: The `TerminalResult`.
    """

    def __init__(self, message: str, *, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


ERRORS: dict[ErrorCode, type[HermesError]] = {
    ErrorCode.INVALID_REQUEST: InvalidToolRequestError,
    ErrorCode.UNKNOWN_TOOL: UnknownToolError,
    ErrorCode.DENIED: ToolDeniedError,
    ErrorCode.BUDGET_EXHAUSTED: BudgetExceededError,
    ErrorCode.TIMED_OUT: ToolTimeoutError,
    ErrorCode.CANCELLED: ToolCancelledError,
    ErrorCode.NOT_FOUND: ToolNotFoundError,
    ErrorCode.FAILED: ToolFailedError,
    ErrorCode.NOT_CONFIGURED: ToolNotConfiguredError,
    ErrorCode.AUDIT_FAILED: ToolFailedError,
    ErrorCode.INTERNAL: ToolFailedError,
    ErrorCode.VERSION_MISMATCH: BridgeUnavailableError,
    ErrorCode.MALFORMED: BridgeUnavailableError,
    ErrorCode.TOO_LARGE: BridgeUnavailableError,
    ErrorCode.OUT_OF_TURN: BridgeUnavailableError,
    ErrorCode.SESSION_ENDED: BridgeUnavailableError,
}
"""Every code's class."""


def error_from(failure: Failure) -> HermesError:
    """Give the exception for a failed call."""
    kind = ERRORS[failure.code]
    text = failure.message
    if failure.rule_id and failure.rule_id not in text:
        text += f" [rule: {failure.rule_id}]"
    if failure.remedy and failure.remedy not in text:
        text += f"\nTo change this: {failure.remedy}"
    if issubclass(kind, ToolDeniedError):
        return kind(text, reason=failure.message, rule_id=failure.rule_id, remedy=failure.remedy)
    return kind(text)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Give `"; did you mean …?"` for a misspelt name, or nothing."""
    import difflib  # only a mistake needs it

    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

"""The host's errors. Every message says what happened and what to do.

`CallError` and its kin end one tool call and become the `Failure` the kernel receives; the others are for who runs the host.
"""

from __future__ import annotations

from hermes_protocol.errors import ErrorCode


class HostBridgeError(Exception):
    """What all of the host's errors share, so that a program can catch them as one."""


class ConfigurationError(HostBridgeError):
    """A configuration file or setting that can't be used.

    Attributes:
        path: The file, empty where the setting came from elsewhere.
        key: The dotted key at fault, empty where the file as a whole is.
    """

    def __init__(self, message: str, *, path: str = "", key: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.key = key


class StateBusyError(ConfigurationError):
    """A file of the user's state that can't be changed, because another process holds its lock and doesn't let go."""


class PolicyError(ConfigurationError):
    """A policy that can't be used; nothing runs under it."""


class AuditError(HostBridgeError):
    """A record that could not be written, or a log that doesn't verify."""


class TapeError(HostBridgeError):
    """A tape that can't be written or read, or doesn't fit what is to be replayed."""


class TapeBusyError(TapeError):
    """A tape that somebody still writes."""


class SandboxError(HostBridgeError):
    """The kernel can't be confined as asked: says what is missing and how to get it."""


class SessionError(HostBridgeError):
    """A bridge session that could not be started, or ended before its time."""


class QuestionError(HostBridgeError):
    """A question in the inbox that can't be asked, found or answered."""


class QuestionNotFoundError(QuestionError):
    """There is no such question, or several are meant."""


class QuestionSettledError(QuestionError):
    """The question has its outcome already, which stands."""


class NotebookError(HostBridgeError):
    """A notebook that can't be read or used.

    Attributes:
        path: The file, empty where the notebook came from elsewhere.
        cell_index: The cell at fault, None where it is none in particular.
    """

    def __init__(self, message: str, *, path: str = "", cell_index: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.cell_index = cell_index


class OutputError(NotebookError):
    """A notebook that can't be saved where it should be."""


class DeclarationError(HostBridgeError):
    """Nobody accepted what a notebook declares it needs; nothing ran.

    Attributes:
        path: The notebook, empty where it came from elsewhere.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class ProposalError(HostBridgeError):
    """A proposal of a change that stopped at one of its steps.

    Attributes:
        step: Which.
        branch: The branch that what was done so far is on; empty if nothing was.
        state: How the run ended, if it was that.
    """

    def __init__(self, message: str, *, step: str, branch: str = "", state: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.branch = branch
        self.state = state


class ProposalCancelledError(ProposalError):
    """A proposal that somebody ended at one of its steps.

    Attributes:
        signal_number: The signal it was ended by; None if by none.
        saved: Where the executed notebook is, as far as it got; empty if nothing ran.
    """

    def __init__(self, message: str, *, step: str, branch: str, signal_number: int | None, saved: str) -> None:
        super().__init__(message, step=step, branch=branch, state="cancelled")
        self.signal_number = signal_number
        self.saved = saved


class KernelStartError(HostBridgeError):
    """A kernel that is not installed, or did not come up."""


class KernelChoiceError(KernelStartError):
    """Whoever runs a notebook has to name another kernel: nothing was started."""


class CallError(HostBridgeError):
    """Ends one call. Tools raise it (or a subclass) for every outcome that is not a result.

    The text reaches the kernel: name things as the kernel named them, never by a host path outside the workspace.
    """

    code = ErrorCode.FAILED

    def __init__(self, message: str, *, rule_id: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.rule_id = rule_id
        self.remedy = remedy


class InvalidCallError(CallError):
    """The arguments don't fit."""

    code = ErrorCode.INVALID_REQUEST


class UnknownToolError(CallError):
    """No tool of that name."""

    code = ErrorCode.UNKNOWN_TOOL


class DeniedError(CallError):
    """The policy or a person said no."""

    code = ErrorCode.DENIED


class BudgetError(CallError):
    """The session has used up what it may use."""

    code = ErrorCode.BUDGET_EXHAUSTED


class CallTimeoutError(CallError):
    """The call's deadline passed."""

    code = ErrorCode.TIMED_OUT


class CallCancelledError(CallError):
    """The kernel, or the end of the session, cancelled the call."""

    code = ErrorCode.CANCELLED


class NotFoundError(CallError):
    """What the call names doesn't exist."""

    code = ErrorCode.NOT_FOUND


class NotConfiguredError(CallError):
    """The host lacks what the tool needs; the text says what to configure."""

    code = ErrorCode.NOT_CONFIGURED


class RecordError(CallError):
    """The audit record could not be written, so the act was not done."""

    code = ErrorCode.AUDIT_FAILED

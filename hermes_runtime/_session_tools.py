"""What a notebook can ask about its session."""

from __future__ import annotations

from hermes_protocol.messages import StatusReply, ToolDescription, Welcome
from hermes_runtime._arguments import check_seconds
from hermes_runtime._blocking import tool
from hermes_runtime._calls import Operation, StatusOperation
from hermes_runtime._results import Budget, BudgetItem, Status, ToolInfo, ToolList

STATUS_SECONDS = 30.0


@tool
def tools(*, timeout: float = STATUS_SECONDS) -> Operation[ToolList]:
    """List the tools the host has. Being listed doesn't mean being allowed."""

    def make(welcome: Welcome, _reply: StatusReply) -> ToolList:
        return ToolList(ToolInfo(each.name, _signature(each), each.summary) for each in welcome.tools)

    return StatusOperation(check_seconds(timeout), make)


@tool
def budget(*, timeout: float = STATUS_SECONDS) -> Operation[Budget]:
    """Show what this session has used, and what it may use."""

    def make(_welcome: Welcome, reply: StatusReply) -> Budget:
        return Budget(BudgetItem(each.name, each.used, each.limit) for each in reply.budgets)

    return StatusOperation(check_seconds(timeout), make)


@tool
def status(*, timeout: float = STATUS_SECONDS) -> Operation[Status]:
    """Show what this session is: for whom, under which policy, where."""

    def make(welcome: Welcome, reply: StatusReply) -> Status:
        return Status(
            session_id=welcome.session_id,
            principal=welcome.principal,
            profile=welcome.profile,
            workspace=welcome.workspace,
            confinement=welcome.confinement,
            kernel_limits=welcome.kernel_limits,
            open_calls=reply.open_calls,
            narrowed_to=reply.narrow,
            untrusted=reply.untrusted,
            untrusted_count=reply.untrusted_count,
            tools=len(welcome.tools),
            secrets=welcome.secrets,
        )

    return StatusOperation(check_seconds(timeout), make)


def _signature(described: ToolDescription) -> str:
    parameters = []
    for each in described.parameters:
        default = "" if each.required else f" = {each.default or '…'}"
        parameters.append(f"{each.name}: {each.type}{default}")
    return f"({', '.join(parameters)})"

"""`bridge`: sessions for others. A supervisor for many host applications, and a ticket for a kernel that runs elsewhere."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, FOLDER, debug_option, json_option
from host_bridge.cli.output import print_json, print_note


@click.group("bridge")
def bridge_command() -> None:
    """Serve bridge sessions for other programs.

    Nobody needs this to run notebooks here: each kernel brings a session of its own.
    """


_socket_option = click.option(
    "--socket",
    "socket_path",
    default="",
    type=FILE,
    metavar="PATH",
    help="The supervisor's socket; by default the configured one.",
)


@bridge_command.command("serve")
@_socket_option
@click.option("--max-sessions", type=click.IntRange(min=1), default=256, show_default=True, help="At most, at once.")
@debug_option
def serve_command(socket_path: str, max_sessions: int) -> None:
    """Start sessions for whoever of this user connects, until Ctrl-C or TERM.

    The provisioner uses it where `[bridge] socket` in the configuration names its socket.
    """
    from host_bridge.provisioning.supervisor import serve

    serve(supervisor_socket(socket_path), max_sessions=max_sessions)


@bridge_command.command("status")
@_socket_option
@json_option
@debug_option
def status_command(socket_path: str, as_json: bool) -> None:
    """Say whether a supervisor listens. Exits with 1 if none does."""
    from host_bridge.provisioning.supervisor import running_supervisor

    path = supervisor_socket(socket_path)
    pid = running_supervisor(path)
    if as_json:
        print_json({"socket": str(path), "running": pid is not None, "pid": pid})
    elif pid is None:
        click.echo(f"no supervisor listens at {path}")
    else:
        click.echo(f"a supervisor (process {pid}) listens at {path}")
    if pid is None:
        raise Exit(ExitCode.FAILED)


@bridge_command.command("ticket")
@click.option(
    "--listen", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Listen here; * for everywhere."
)
@click.option("--port", type=click.IntRange(1, 65_535), help="By default any that is free.")
@click.option(
    "--advertise", default="", metavar="HOST", help="How the kernel reaches this machine, where it isn't --listen."
)
@click.option(
    "--workspace",
    default=".",
    show_default=True,
    type=FOLDER,
    metavar="DIR",
    help="The folder the session works in.",
)
@click.option("--profile", default="", metavar="NAME", help="The policy profile.")
@click.option("--agent", default="", metavar="NAME", help="Whom the session acts for.")
@click.option(
    "--output",
    "output_path",
    type=FILE,
    metavar="FILE",
    help="Write the ticket here (0600) instead of to standard output.",
)
@debug_option
def ticket_command(
    listen: str, port: int | None, advertise: str, workspace: str, profile: str, agent: str, output_path: str | None
) -> None:
    """Open a session for one kernel on another machine, and keep it open until Ctrl-C or TERM.

    Start the kernel there with the ticket as HERMES_RUNTIME_SESSION, or with HERMES_RUNTIME_SESSION_FILE naming a file that
    holds it. Whoever has the ticket is the kernel: hand it over as you would a password.
    """
    from hermes_protocol.ticket import encode_ticket
    from host_bridge.config import load_config
    from host_bridge.provisioning.options import LaunchOptions
    from host_bridge.provisioning.remote import open_remote_session

    options = LaunchOptions(workspace=str(Path(workspace).absolute()), profile=profile, principal=agent)
    with open_remote_session(load_config(), options, listen=listen, port=port, advertise=advertise) as remote:
        _hand_over(encode_ticket(remote.ticket), output_path)
        print_note(f"session {remote.ticket.session_id} listens at {remote.ticket.endpoint}; Ctrl-C ends it")
        wait_for_signal()


def supervisor_socket(given: str) -> Path:
    """Give the socket that was named, the configured one, or the default one."""
    from host_bridge.config import load_config
    from host_bridge.provisioning.supervisor import default_socket_path

    chosen = given or load_config().bridge.socket
    return Path(chosen).absolute() if chosen else default_socket_path()


def _hand_over(ticket: str, path: str | None) -> None:
    if path is None:
        click.echo(ticket)
        return
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(ticket)


def wait_for_signal() -> None:
    """Wait until INT or TERM; either is an orderly end."""
    asked_to_end = threading.Event()
    previous = {
        number: signal.signal(number, lambda *_: asked_to_end.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        asked_to_end.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

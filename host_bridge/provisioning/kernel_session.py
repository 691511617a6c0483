"""What one kernel has from its first start to its last end, restarts included: a run directory and a bridge session."""

from __future__ import annotations

import atexit
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hermes_protocol.ticket import Ticket, encode_ticket
from host_bridge.config import HostConfig
from host_bridge.control import SessionConfig
from host_bridge.errors import SessionError
from host_bridge.limits.limiter import choose_limiter
from host_bridge.provisioning.confinement import KernelCommand, confine, decide_confinement, sandbox_spec
from host_bridge.provisioning.environment import OUTPUT_VARIABLE, kernel_environment
from host_bridge.provisioning.keys import new_keys
from host_bridge.provisioning.notebook import declared_permissions, read_document, source_digest
from host_bridge.provisioning.options import LaunchOptions, Prompter
from host_bridge.provisioning.session import BridgeSession
from host_bridge.provisioning.session_config import Circumstances, session_config
from host_bridge.rundirs.processes import ProcessIdentity, identify, kill_session
from host_bridge.rundirs.rundir import RunDirectory
from host_bridge.sandbox.covers import covers_in_use, covers_locked, remove_covers
from host_bridge.sandbox.spec import Launch, unconfined


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KernelSite:
    """What a kernel manager says about a kernel.

    Attributes:
        cwd: Its working directory.
        notebook: The notebook a Jupyter server says it is for; empty when nobody says.
        kernelspec_profile: The profile its kernel spec names.
    """

    cwd: str
    notebook: str = ""
    kernelspec_profile: str = ""


_open: set[KernelSession] = set()
"""Those not closed. A program that forgets a kernel still ends it in order when it exits."""


class KernelSession:
    """One kernel's run directory and session. Its methods may block; call them off an event loop.

    Args:
        host: The user's configuration.
        options: What the host application says.
        site: What the kernel manager says.
        prompter: Asks a person; None when nobody can be asked.

    Attributes:
        confinement: How its kernels are confined.
        limiter: What of the machine they may use.
        run: The run directory.
        session: The session; a new one after a restart if the old one was over.

    Raises:
        SandboxError: They can't be confined as asked.
    """

    def __init__(self, host: HostConfig, options: LaunchOptions, site: KernelSite, prompter: Prompter | None) -> None:
        self._host = host
        self._options = options
        self._site = site
        self._prompter = prompter
        self._maker = os.getpid()
        self._kernel: ProcessIdentity | None = None
        self._covers: tuple[str, ...] = ()
        self.confinement = decide_confinement(host.sandbox, backend=options.confinement, network=options.network)
        self.limiter = choose_limiter(
            host.limits, options.limits, counts_users=self.confinement.backend == "bubblewrap"
        )
        self.run = RunDirectory()
        self.session = self._new_session()
        _open.add(self)

    @property
    def config(self) -> SessionConfig:
        """What the session was started with."""
        assert self.session.config is not None
        return self.session.config

    def open(self, environment: Mapping[str, str]) -> None:
        """Start the session if none is under way; doesn't wait for it.

        Args:
            environment: The host process's variables.

        Raises:
            HostBridgeError: The configuration can't be used, or the process can't be started.
        """
        if self.session.alive:
            return
        if self.session.config is not None:
            self._check_replaceable()
            self.session.close()
            self.session = self._new_session()
        self._server_keys = new_keys()
        document = read_document(self._site.notebook) if self._site.notebook else None
        given = Circumstances(
            endpoint=self.confinement.bridge_endpoint(self.run.path),
            server_keys=self._server_keys,
            cwd=self._site.cwd,
            kernelspec_profile=self._site.kernelspec_profile,
            notebook=self._site.notebook,
            notebook_permissions=None if document is None else declared_permissions(document),
            notebook_digest="" if document is None else source_digest(document),
            interactive=self._prompter is not None,
            confinement=self.confinement.label,
            dials=self.confinement.dials,
            kernel_limits=self.limiter.describe(),
        )
        config = session_config(self._host, self._options, given, environment)
        self.session.start(config, supervisor=self._host.bridge.socket)
        pid = self.session.pid
        self.run.record(bridge=identify(pid) if pid else None)

    def admit_kernel(self) -> None:
        """Make the next kernel process known to the session, and no other from then on.

        Raises:
            SessionError: The session is over.
        """
        public_key, secret_key = new_keys()
        self.session.kernel_starting(public_key)
        self._ticket = Ticket(
            session_id=self.config.session_id,
            endpoint=self.config.endpoint,
            server_public_key=self._server_keys[0],
            public_key=public_key,
            secret_key=secret_key,
            bridge_dials=self.config.dials,
        )

    def launch(self, prepared: Mapping[str, Any], connection_file: str) -> Launch:
        """Give the command that starts the admitted kernel, and put its ticket where it will look.

        Args:
            prepared: As jupyter_client would start it: `cmd`, `env`, `cwd`.
            connection_file: The kernel manager's.

        Raises:
            SandboxError: It can't be confined or limited as decided.
        """
        output_bytes = {OUTPUT_VARIABLE: str(self.limiter.settings.output_bytes)}
        launch = self._confined({**prepared, "env": {**prepared["env"], **output_bytes}}, connection_file)
        self.limiter.begin(Path(self.run.path).name)
        self.run.record(groups=self.limiter.folders)
        self.limiter.make()
        return self.limiter.wrap(launch)

    def _confined(self, prepared: Mapping[str, Any], connection_file: str) -> Launch:
        if self.confinement.backend == "none":
            self.run.write_ticket(encode_ticket(self._ticket))
            return unconfined(prepared["cmd"], kernel_environment(prepared["env"], self.run.ticket_path))
        command = KernelCommand(
            argv=tuple(prepared["cmd"]),
            environment=prepared["env"],
            working_folder=str(prepared.get("cwd") or self._site.cwd),
            connection_file=connection_file,
            ticket=self._ticket,
        )
        with covers_locked():
            spec = sandbox_spec(
                self.confinement,
                command,
                self.config,
                self.run.path,
                limits=self.limiter.rlimits,
                covers=covers_in_use(),
            )
            self._covers = tuple(island.path for island in spec.islands if island.kind in ("no folder", "no file"))
            self.run.record(covers=self._covers)
        return confine(self.confinement, command, spec)

    def record_kernel(self, pid: int) -> None:
        """Write down which process the kernel is, for the sweep after a crash."""
        if self.confinement.backend == "none":
            self.limiter.limit_process(pid)
        self._kernel = identify(pid)
        self.run.record(kernel=self._kernel)

    def end_kernel(self) -> None:
        """Kill what is left of the kernel: itself, if need be, and what it started in its session."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kill_session(kernel)
        if self.limiter.end():
            self.run.record(groups=())

    def record_connection_file(self, path: str) -> None:
        """Write down which connection file is the kernel's, for the sweep after a crash."""
        self.run.record(connection_file=os.path.realpath(path))

    def wait_ready(self) -> None:
        """Wait until the session serves.

        Raises:
            HostBridgeError: See `BridgeSession.wait_ready`.
        """
        self.session.wait_ready(self._host.session.ready_timeout_seconds)

    def close(self) -> None:
        """End the session and remove the run directory. May be called again."""
        _open.discard(self)
        if os.getpid() != self._maker:
            return  # a forked child has a copy of this object, and nothing of what it stands for
        self.end_kernel()
        self.session.close()
        remove_covers(self._covers, self.run.path)
        self.run.remove()

    def _new_session(self) -> BridgeSession:
        return BridgeSession(
            prompter=self._prompter,
            on_call=self._options.on_call,
            tools=self._options.tools,
            secrets={name: secret.source for name, secret in self._host.secrets.items()},
        )

    def _check_replaceable(self) -> None:
        # A kernel that can end its session must not get new budgets by it.
        if self.config.budgets:
            raise SessionError(
                f"the session of this kernel is over, and with it the count of what it used ({self.session.failure}); "
                "shut the kernel down and start another"
            )


@atexit.register
def _close_forgotten() -> None:
    for forgotten in list(_open):
        forgotten.close()


def kernel_site(kwargs: Mapping[str, object], kernelspec_profile: str) -> KernelSite:
    """Read a kernel manager's start arguments."""
    cwd = str(kwargs.get("cwd") or Path.cwd())
    # Only what this start was given: a variable of the host's own would name the notebook the host itself runs in.
    environment = kwargs.get("env")
    named = environment.get("JPY_SESSION_NAME", "") if isinstance(environment, Mapping) else ""
    notebook = str(Path(cwd, named)) if named else ""
    return KernelSite(cwd=cwd, notebook=notebook, kernelspec_profile=kernelspec_profile)

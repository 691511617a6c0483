"""A machine of its own for a test of the provisioner: private folders, so that whatever is left behind is seen."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

GONE_SECONDS = 15.0


class Machine:
    """Private folders for one test, and what is alive or left in them.

    Attributes:
        root: Short, because sockets go below it.
        workspace: Where notebooks lie and kernels run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = self._folder("work")
        self.runtime = self._folder("run")
        self.jupyter_runtime = self._folder("jupyter")
        self.temporary = self._folder("tmp")
        self.audit = root / "state" / "hermes-runtime" / "audit"
        self.variables = {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.temporary),
            "XDG_STATE_HOME": str(root / "state"),
            "XDG_CONFIG_HOME": str(root / "config"),
            "JUPYTER_RUNTIME_DIR": str(self.jupyter_runtime),
            "JUPYTER_CONFIG_DIR": str(root / "jupyter-config"),
            "IPYTHONDIR": str(root / "ipython"),
        }

    def _folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(mode=0o700)
        return path

    def configure(self, text: str) -> None:
        """Write the user's configuration."""
        folder = self.root / "config" / "hermes-runtime"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(text)

    def processes(self) -> dict[int, str]:
        """Give the processes that belong to this machine, the test itself excepted: number to command line.

        A confined kernel's variables tell nothing, so it is known by the folders that are mounted for it, or by
        where its temporary files go.
        """
        mark = f"XDG_STATE_HOME={self.root}/state".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0") or self._is_confined_by_landlock(folder):
                    found[int(folder.name)] = _command_line(folder)
                elif self._is_confined_here(folder):
                    found[int(folder.name)] = _command_line(folder)
                    found |= _watcher(folder)
        return found

    def _is_confined_by_landlock(self, folder: Path) -> bool:
        variables = (folder / "environ").read_bytes().split(b"\0")
        return any(entry.startswith(f"TMPDIR={self.runtime}/".encode()) for entry in variables)

    def _is_confined_here(self, folder: Path) -> bool:
        mounts = folder / "ns" / "mnt"
        return (
            mounts.readlink() != Path("/proc/self/ns/mnt").readlink()
            and f" {self.root}/" in (folder / "mountinfo").read_text()
        )

    def bridges(self) -> list[int]:
        return [pid for pid, command in self.processes().items() if "host_bridge.bridge" in command]

    def run_directories(self) -> list[Path]:
        return [path for path in self.runtime.iterdir() if path.name.startswith("hermes-")]

    def connection_files(self) -> list[Path]:
        """Give Jupyter's connection files: where an application puts them, and where a bare manager does."""
        return [*self.jupyter_runtime.glob("kernel-*"), *self.temporary.glob("*.json")]

    def leftovers(self) -> list[str]:
        """Give everything that should be gone after the last kernel ended."""
        files = [str(path) for path in (*self.run_directories(), *self.connection_files())]
        return files + [f"{pid}: {command}" for pid, command in self.processes().items()]

    def wait_until_clean(self, *, files: bool = True) -> None:
        """Wait until nothing is left, or no process if files are somebody else's to remove."""
        deadline = time.monotonic() + GONE_SECONDS
        while left := (self.leftovers() if files else self.processes()):
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.01)  # the processor is for what is to end

    def end(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)


def _command_line(folder: Path) -> str:
    return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def _watcher(folder: Path) -> dict[int, str]:
    """Give the process that started a sandbox and waits for its end, if `folder` is that of the sandbox's first process."""
    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
    watcher = Path("/proc", parent)
    return {int(parent): _command_line(watcher)} if (watcher / "comm").read_text() == "bwrap\n" else {}

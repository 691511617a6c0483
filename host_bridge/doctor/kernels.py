"""Whether Jupyter finds the `hermes` kernel, and can start it: here, and in other installations of Jupyter on the PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from host_bridge.doctor.finding import Finding, failure, ok, warning
from host_bridge.executor.imports import import_jsonschema_lightly

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.provisioning.factory import KernelProvisionerFactory

KERNEL_NAME = "hermes"
PROVISIONER_NAME = "hermes-provisioner"
_PROBE_SECONDS = 20.0
# Runs in another installation: which kernels it sees, and whether it could start ours.
_PROBE = f"""
import importlib.metadata, json
from jupyter_client.kernelspec import KernelSpecManager
provisioners = [one.name for one in importlib.metadata.entry_points(group="jupyter_client.kernel_provisioners")]
sees = {KERNEL_NAME!r} in KernelSpecManager().find_kernel_specs()
print(json.dumps({{"sees": sees, "starts": {PROVISIONER_NAME!r} in provisioners}}))
"""


def examine() -> Iterator[Finding]:
    """Look at the kernel spec, its interpreter, its provisioner, and other installations of Jupyter."""
    import_jsonschema_lightly()  # jupyter_client needs it
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.provisioning.factory import KernelProvisionerFactory

    folder = KernelSpecManager().find_kernel_specs().get(KERNEL_NAME)
    if folder is None:
        remedy = "run `hermes-runtime kernel install --sys-prefix`"
        yield failure("kernel spec", f"Jupyter finds no kernel named {KERNEL_NAME!r}", remedy)
        return
    try:
        spec = KernelSpec.from_resource_dir(folder)
    except (OSError, ValueError) as error:
        remedy = "remove that folder, then run `hermes-runtime kernel install --sys-prefix`"
        yield failure("kernel spec", f"{folder}/kernel.json can't be used: {error}", remedy, path=folder)
        return
    yield ok("kernel spec", f"{KERNEL_NAME} in {folder}", path=folder)
    yield _interpreter(spec.argv)
    yield _provisioner(spec, KernelProvisionerFactory.instance())
    yield from others()


def _provisioner(spec: KernelSpec, factory: KernelProvisionerFactory) -> Finding:
    name = str(spec.metadata.get("kernel_provisioner", {}).get("provisioner_name", ""))
    if not name:
        remedy = "run `hermes-runtime kernel install` again; without a provisioner the kernel's tools have no bridge"
        return failure("provisioner", "the kernel spec names none", remedy)
    if not factory.is_provisioner_available(spec):
        remedy = f"reinstall hermes-runtime with `{sys.executable} -m pip install --force-reinstall hermes-runtime`"
        return failure("provisioner", f"the kernel spec names {name!r}, which isn't installed here", remedy)
    return ok("provisioner", f"{name} is installed")


def _interpreter(argv: list[str]) -> Finding:
    program = argv[0] if argv else ""
    if program in {"python", "python3", f"python3.{sys.version_info[1]}"}:
        # jupyter_client puts its own interpreter there.
        return ok("kernel's python", f"this one, {sys.executable}", path=sys.executable)
    found = shutil.which(program)
    if found is None:
        remedy = "run `hermes-runtime kernel install` again with the --python to use"
        return failure("kernel's python", f"{program or '(none)'} doesn't exist or can't be run", remedy, path=program)
    try:
        probe = subprocess.run(
            [found, "-c", "import hermes_runtime, ipykernel"], capture_output=True, text=True, timeout=_PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return failure(
            "kernel's python", f"{found} takes over {_PROBE_SECONDS:g} s to import", "repair that environment"
        )
    if probe.returncode:
        lines = probe.stderr.strip().splitlines() or ["it fails"]
        remedy = f"install the kernel side there: `{found} -m pip install hermes-runtime`"
        return failure("kernel's python", f"{found}: {lines[-1]}", remedy, path=found)
    return ok("kernel's python", found, path=found)


def others() -> Iterator[Finding]:
    """Other installations see kernel specs of the user and the system, but only start ours with the provisioner installed."""
    for interpreter in sorted(_other_interpreters()):
        try:
            probe = subprocess.run(
                [interpreter, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True
            )
            answer = json.loads(probe.stdout)
        except (OSError, subprocess.SubprocessError, ValueError):
            continue  # no working Jupyter: nothing there would try to start the kernel
        if answer["sees"] and not answer["starts"]:
            yield warning(
                "other Jupyter",
                f"{interpreter} sees the kernel {KERNEL_NAME!r} but can't start it: the provisioner isn't installed there",
                f"run `{interpreter} -m pip install hermes-runtime`, or install the kernel with --sys-prefix only",
                path=interpreter,
            )


def _other_interpreters() -> set[str]:
    found = set()
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        interpreter = _script_interpreter(Path(folder) / "jupyter")
        if interpreter and _environment(interpreter) != _environment(sys.executable):
            found.add(interpreter)
    return found


def _environment(interpreter: str) -> str:
    # Not the resolved file: every virtual environment's interpreter is a link to the same one.
    return str(Path(interpreter).absolute().parent)


def _script_interpreter(script: Path) -> str:
    """Give the interpreter a console script starts with, nothing if it is not such a script."""
    try:
        with script.open("rb") as file:
            first = file.readline(512)
    except OSError:
        return ""
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    return words[0] if len(words) == 1 and Path(words[0]).is_file() else ""

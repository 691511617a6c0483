"""`kernel`: registering the kernel with Jupyter."""

from __future__ import annotations

import click

from host_bridge.cli.options import FILE, FOLDER, debug_option, json_option
from host_bridge.cli.output import print_json, print_note, table

_DEFAULT_NAME = "hermes"  # host_bridge.provisioning.kernelspecs.DEFAULT_NAME, without importing Jupyter for --help


@click.group("kernel")
def kernel_command() -> None:
    """Register the kernel with Jupyter, or remove it.

    `pip install` has registered it for its own environment already.
    """


@kernel_command.command("install")
@click.option("--user", is_flag=True, help="Into the user's own list (the default).")
@click.option("--sys-prefix", is_flag=True, help="Into this Python environment.")
@click.option("--prefix", type=FOLDER, metavar="DIR", help="Into the environment with this prefix.")
@click.option("--name", default=_DEFAULT_NAME, show_default=True, help="What applications call it.")
@click.option("--display-name", default="", metavar="TEXT", help="What people see.")
@click.option(
    "--python",
    type=FILE,
    metavar="PATH",
    help="Run the kernel in this interpreter's environment, while its bridge stays in this one. It needs ipykernel, pyzmq, "
    "msgpack, msgspec and the packages hermes_protocol and hermes_runtime.",
)
@click.option("--force", is_flag=True, help="Replace a kernel of this name that isn't one of ours.")
@json_option
@debug_option
def install_command(
    user: bool,
    sys_prefix: bool,
    prefix: str | None,
    name: str,
    display_name: str,
    python: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Register the kernel, after trying out its interpreter."""
    from host_bridge.provisioning.kernelspecs import install

    folder = install(
        user=user,
        sys_prefix=sys_prefix,
        prefix=prefix,
        name=name,
        display_name=display_name,
        python=python,
        force=force,
    )
    if as_json:
        print_json({"name": name, "path": str(folder)})
    else:
        click.echo(f"installed the kernel {name} in {folder}")


@kernel_command.command("remove")
@click.argument("name", required=False)
@click.option("--name", "named", metavar="NAME", help="The same, as `kernel install` takes it.")
@click.option("--force", is_flag=True, help="Remove it even if it isn't one of ours.")
@json_option
@debug_option
def remove_command(name: str | None, named: str | None, force: bool, as_json: bool) -> None:
    """Remove the kernel that applications find under NAME; `hermes` if none is given."""
    if None not in (name, named) and name != named:
        raise click.UsageError(f"two kernels are named, {name!r} and --name {named!r}; give the one to remove")
    from host_bridge.provisioning.kernelspecs import remove

    name = next((given for given in (name, named) if given is not None), _DEFAULT_NAME)
    folder = remove(name, force=force)
    if as_json:
        print_json({"name": name, "path": str(folder)})
    else:
        click.echo(f"removed the kernel {name} from {folder}")


@kernel_command.command("list")
@json_option
@debug_option
def list_command(as_json: bool) -> None:
    """List the kernels of ours that Jupyter finds."""
    from pathlib import Path

    from jupyter_client.kernelspec import KernelSpecManager

    from host_bridge.provisioning.kernelspecs import is_ours

    found = {name: folder for name, folder in KernelSpecManager().find_kernel_specs().items() if is_ours(Path(folder))}
    if as_json:
        print_json(found)
    elif found:
        click.echo(table(sorted(found.items())))
    else:
        print_note("none; `hermes-runtime kernel install` registers one")

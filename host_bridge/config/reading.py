"""Reading the configuration: a file that carries authority, so that anything wrong with it is said and nothing is guessed."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path

import msgspec

from host_bridge.config.misfits import misfit
from host_bridge.config.places import config_path
from host_bridge.config.tables import HostConfig, SecretSettings
from host_bridge.config.variables import CONFIG_VARIABLE, sounds_secret
from host_bridge.errors import ConfigurationError

MAX_CONFIG_BYTES = 2**20  # ours is a page; a file a thousand times longer is some other file
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_FILE_SOURCE = "file:"


def load_config(path: str | os.PathLike[str] | None = None) -> HostConfig:
    """Read the configuration.

    Args:
        path: A file that must exist; None for the one in force, which may be absent unless it was named.

    Returns:
        The settings, with every path in them absolute.

    Raises:
        ConfigurationError: The file can't be read or used; `.path` and `.key` say where.
    """
    chosen = Path(path) if path is not None else config_path()
    must_exist = path is not None or CONFIG_VARIABLE in os.environ
    text = _read(chosen, must_exist)
    return HostConfig() if text is None else _parse(text, chosen)


def _read(path: Path, must_exist: bool) -> str | None:
    try:
        with open(path, "rb") as file:
            _check_ownership(os.fstat(file.fileno()), path)
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        if must_exist:
            raise ConfigurationError(
                f"{path}: no such configuration file; create it or unset {CONFIG_VARIABLE}", path=str(path)
            ) from None
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}", path=str(path)) from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigurationError(f"{path}: over {MAX_CONFIG_BYTES} bytes; is it the right file?", path=str(path))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8", path=str(path)) from None


def _check_ownership(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path}: not a regular file", path=str(path))
    # Whoever can write here decides what every session may do.
    if status.st_mode & stat.S_IWOTH:
        raise ConfigurationError(f"{path}: anybody may write it; run: chmod o-w {path}", path=str(path))


def _parse(text: str, path: Path) -> HostConfig:
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}", path=str(path)) from None
    try:
        config = msgspec.convert(fields, type=HostConfig)
    except msgspec.ValidationError as error:
        key, clause = misfit(error, HostConfig)
        raise ConfigurationError(f"{path}: {clause}", path=str(path), key=key) from None
    for table, names in (("environment", config.environment.pass_names), ("sandbox", config.sandbox.pass_names)):
        for name in names:
            if sounds_secret(name):
                raise ConfigurationError(
                    f"{path}: {table}.pass: {name} sounds like a secret; if it must be known there, give it in "
                    f"[{table}.set]",
                    path=str(path),
                    key=f"{table}.pass",
                )
    for name in config.secrets:
        if not _SECRET_NAME.fullmatch(name):
            raise ConfigurationError(
                f"{path}: secrets: {name!r} is no name of a secret; write letters, digits and _",
                path=str(path),
                key=f"secrets.{name}",
            )
    return _absolute(config, path.absolute().parent)


def _absolute(config: HostConfig, folder: Path) -> HostConfig:
    def resolve(text: str) -> str:
        return str(folder / Path(text).expanduser()) if text else text

    def resolve_source(secret: SecretSettings) -> SecretSettings:
        place = secret.source.removeprefix(_FILE_SOURCE)
        if place == secret.source:
            return secret
        return msgspec.structs.replace(secret, source=f"{_FILE_SOURCE}{resolve(place)}")

    return msgspec.structs.replace(
        config,
        secrets={name: resolve_source(secret) for name, secret in config.secrets.items()},
        policy=msgspec.structs.replace(config.policy, files=tuple(resolve(name) for name in config.policy.files)),
        declarations=msgspec.structs.replace(
            config.declarations, trusted_paths=tuple(resolve(name) for name in config.declarations.trusted_paths)
        ),
        audit=msgspec.structs.replace(
            config.audit, folder=resolve(config.audit.folder), heads=resolve(config.audit.heads)
        ),
        bridge=msgspec.structs.replace(config.bridge, socket=resolve(config.bridge.socket)),
        limits=msgspec.structs.replace(config.limits, cgroup=resolve(config.limits.cgroup)),
        sandbox=msgspec.structs.replace(
            config.sandbox,
            read_only_paths=tuple(resolve(name) for name in config.sandbox.read_only_paths),
            writable_paths=tuple(resolve(name) for name in config.sandbox.writable_paths),
        ),
    )

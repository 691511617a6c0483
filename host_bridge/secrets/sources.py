"""Where the values of secrets come from; read by the host application, at the call that needs one.

    env:GITEA_TOKEN             a variable of the host application
    file:~/.config/gitea/token  a file that is its owner's and nobody else's
    keyring:gitea/alice         the system's keyring, service and user; needs the package `keyring`

What can't be read says why, and never a part of what was read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

MAX_VALUE_BYTES = 16_384  # a private key has four thousand
MIN_VALUE_CHARACTERS = 4
KINDS = ("env", "file", "keyring")


class SourceError(Exception):
    """A value that can't be had; the text says why and what to do."""


def check_source(source: str) -> str:
    """Say what is wrong with how a source is written; empty if nothing is."""
    kind, colon, place = source.partition(":")
    if kind not in KINDS or not colon or not place or "\0" in place:
        return f"{source!r} is no source; write env:NAME, file:PATH or keyring:SERVICE/USER"
    if kind == "keyring" and not all(place.rpartition("/")[::2]):
        return f"{source!r}: a keyring has a service and a user; write keyring:SERVICE/USER"
    return ""


def read_source(source: str, environment: Mapping[str, str]) -> str:
    """Give a secret's value.

    Args:
        source: As the configuration has it.
        environment: The host application's variables.

    Raises:
        SourceError: There is none.
    """
    if problem := check_source(source):
        raise SourceError(problem)
    kind, _, place = source.partition(":")
    value = _READERS[kind](place, environment)
    if not value:
        raise SourceError(f"{source} is empty")
    if len(value) < MIN_VALUE_CHARACTERS:
        raise SourceError(
            f"{source} has fewer than {MIN_VALUE_CHARACTERS} characters: it could not be told from other text that comes back"
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise SourceError(f"{source} is not text in UTF-8") from None
    if size > MAX_VALUE_BYTES:
        raise SourceError(f"{source} holds more than {MAX_VALUE_BYTES} bytes; is it the right one?")
    if "\0" in value:
        raise SourceError(f"{source} holds a NUL character, which nothing could be given")
    return value


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name)
    if value is None:
        raise SourceError(f"the variable {name} is not set where the host application runs; set it and start again")
    return value


def _from_file(place: str, _: Mapping[str, str]) -> str:
    path = Path(place).expanduser()
    try:
        # Not through a link, which somebody else may exchange; not blocking, as it may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        said = "is a symbolic link; name the file itself" if error.errno == errno.ELOOP else f"{error.strerror}"
        raise SourceError(f"{path} can't be read: {said}") from None
    with open(descriptor, "rb") as file:
        _check_status(os.fstat(descriptor), path)
        data = file.read(MAX_VALUE_BYTES + 2)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")  # an editor's last line break is not the secret's
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not text in UTF-8") from None


def _check_status(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{path} is not a regular file")
    if status.st_uid != os.getuid():
        raise SourceError(f"{path} belongs to somebody else; keep secrets in a file of your own")
    if status.st_mode & 0o077:
        raise SourceError(f"{path} can be read or written by others; run: chmod 600 {path}")


def _from_keyring(place: str, _: Mapping[str, str]) -> str:
    service, _slash, user = place.rpartition("/")
    try:
        import keyring  # optional, and a second's work where it looks for its backends
        import keyring.errors
    except ImportError:
        raise SourceError("the package keyring is not installed; run: pip install 'hermes-runtime[keyring]'") from None
    try:
        value = keyring.get_password(service, user)
    except (keyring.errors.KeyringError, RuntimeError) as error:
        raise SourceError(f"the keyring can't be read ({type(error).__name__}); unlock it, or name a file") from None
    if value is None:
        raise SourceError(f"the keyring has nothing for {service}/{user}; run: keyring set {service} {user}")
    return value


_READERS = {"env": _from_environment, "file": _from_file, "keyring": _from_keyring}

"""Where a repository is on the web, from the address that git fetches it from."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse

from host_bridge.repository.forges.interface import ForgeError

_SCP_LIKE = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s]+):(?!//)(?P<path>[^\s]+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A repository on a forge.

    Attributes:
        site: The forge's address, such as `https://git.example.org`.
        host: Its name, without a port.
        path: The repository in it, `owner/name`.
    """

    site: str
    host: str
    path: str

    @property
    def quoted_path(self) -> str:
        """The path as part of an address."""
        return urllib.parse.quote(self.path)


def place_of(address: str) -> Place:
    """Read a repository's address: https, ssh, or git's short form `git@host:owner/name`.

    Raises:
        ForgeError: It isn't on a forge.
    """
    short = _SCP_LIKE.fullmatch(address)
    parts = urllib.parse.urlsplit(address)
    if parts.scheme in ("https", "http", "ssh", "git+ssh") and parts.hostname:
        path, host = parts.path, parts.hostname
        shown = f"[{host}]" if ":" in host else host
        # Nothing of a user or password that somebody put there goes on, and ssh's port is not the web's.
        is_web = parts.scheme in ("https", "http")
        site = f"{parts.scheme if is_web else 'https'}://{shown}{f':{parts.port}' if is_web and parts.port else ''}"
    elif short is not None and "://" not in address:
        path, host = short["path"], short["host"]
        site = f"https://{host}"
    else:
        raise ForgeError("the remote isn't on a forge; say where its pull requests are with --forge-url")
    path = path.strip("/").removesuffix(".git")
    if path.count("/") < 1:
        raise ForgeError("the remote's address names no owner and repository; give both with --forge-url")
    return Place(site, host, path)

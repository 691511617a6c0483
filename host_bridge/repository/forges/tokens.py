"""Finding the token for a forge: in a variable, a source of secrets, or git's helper. Never in an argument or an address."""

from __future__ import annotations

import os
from collections.abc import Mapping

from host_bridge.repository.forges.interface import ForgeError
from host_bridge.repository.forges.places import Place
from host_bridge.repository.git import Git
from host_bridge.secrets.sources import SourceError, read_source

VARIABLES = {
    "gitea": ("HERMES_FORGE_TOKEN", "GITEA_TOKEN"),
    "github": ("HERMES_FORGE_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"),
    "gitlab": ("HERMES_FORGE_TOKEN", "GITLAB_TOKEN"),
}
_NEVER_ASK = {"GIT_ASKPASS": "", "SSH_ASKPASS": ""}
_SECONDS = 30.0


def find_token(kind: str, place: Place, git: Git, source: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """Give the token.

    Args:
        kind: Of forge.
        place: The repository there.
        git: Asks its credential helper.
        source: Where it is, as secrets' sources are written (`file:~/.config/gitea/token`); looked for if empty.
        environment: This process's variables.

    Raises:
        ForgeError: There is none.
    """
    if source:
        try:
            return read_source(source, environment).strip()
        except SourceError as error:
            raise ForgeError(f"there is no token for {place.site}: {error}") from None
    for name in VARIABLES[kind]:
        if token := environment.get(name, "").strip():
            return token
    scheme, _, host = place.site.partition("://")
    question = f"protocol={scheme}\nhost={host}\npath={place.path}.git\n\n"
    done = git.run(
        *("-c", "core.askPass=", "credential", "fill"),
        input_text=question,
        check=False,
        environment=_NEVER_ASK,
        timeout_seconds=_SECONDS,
    )
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        key, _, value = line.partition("=")
        if key == "password" and value:
            return value
    raise ForgeError(
        f"there is no token for {place.site}: set {VARIABLES[kind][-1]} in the environment, or have git's credential helper "
        "keep one (`git credential approve`)"
    )

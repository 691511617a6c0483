"""What no policy gives away: the rules under the rules.

Two tables. What is *protected* is never written through a file tool, under any profile: files that make other programs run
code later, outside of what this session was allowed (an editor's or a repository's settings, shell start-up files), and
files that say what is allowed. What sounds *secret* is out of reach for wildcards: an `allow` rule reaches it by naming it
exactly, or by allowing every call of a tool.

Names are compared folded (case, Unicode form, invisible characters, trailing dots and blanks), since some file systems do.
"""

from __future__ import annotations

import dataclasses
import re

from host_bridge.policy.model import Access, PathResource
from host_bridge.policy.patterns import fold

FLOOR = "floor"

_PROTECTED_NAMES = {
    ".git": "git runs hooks and programs that its files name",
    ".gitconfig": "git runs programs that it names",
    ".gitmodules": "git fetches from and configures what it names",
    ".hg": "Mercurial runs hooks that its files name",
    ".hgrc": "Mercurial runs hooks that it names",
    ".svn": "Subversion runs hooks that its files name",
    ".husky": "git runs its files as hooks",
    ".githooks": "git runs its files as hooks",
    ".vscode": "editors run tasks that its files name",
    ".vscode-server": "editors run what lies in it",
    ".cursor": "editors run tools that its files name",
    ".idea": "editors run tasks that its files name",
    ".fleet": "editors run tasks that its files name",
    ".zed": "editors run tasks that its files name",
    ".devcontainer": "editors run commands that its files name",
    ".devcontainer.json": "editors run commands that it names",
    ".envrc": "direnv runs it",
    ".direnv": "direnv runs what lies in it",
    ".mcp.json": "agents start programs that it names",
    ".claude": "agents run hooks that its files name",
    ".claude.json": "agents start programs that it names",
    ".codex": "agents start programs that its files name",
    ".gemini": "agents start programs that its files name",
    ".hermes": "it holds an agent's settings and permissions",
    "hermes.toml": "it says what notebooks may do here",
    ".ipython": "IPython runs its start-up files",
    ".jupyter": "Jupyter runs its configuration files",
    ".ssh": "it says who may log in, and runs commands",
    ".gnupg": "it holds keys",
    ".profile": "shells run it",
    ".login": "shells run it",
    ".logout": "shells run it",
    ".inputrc": "shells read it",
    ".xinitrc": "the desktop runs it",
    ".xprofile": "the desktop runs it",
    ".xsession": "the desktop runs it",
    ".xsessionrc": "the desktop runs it",
    ".pam_environment": "logins read it",
    ".pdbrc": "the debugger runs it",
    ".pythonrc": "Python runs it",
    ".pythonrc.py": "Python runs it",
    ".gdbinit": "the debugger runs it",
    ".lldbinit": "the debugger runs it",
    ".exrc": "editors run it",
    ".vimrc": "editors run it",
    ".nvimrc": "editors run it",
    ".emacs": "editors run it",
    ".dir-locals.el": "editors evaluate it",
    ".netrc": "it holds passwords",
    ".git-credentials": "it holds passwords",
}
_PROTECTED_PATTERNS = (
    (r"\.(?:ba|z|k|c|tc|fi|mk|da)?shrc", "shells run it"),
    (r"\.bash_(?:profile|login|logout|aliases)", "shells run it"),
    (r"\.z(?:shenv|profile|login|logout)", "shells run it"),
    (r"[^/]*\.policy\.toml", "it says what may be done"),
    (r"jupyter_[^/]*config\.(?:py|json)", "Jupyter runs it"),
)
# Whole folders that only mean something below another.
_PROTECTED_SEQUENCES = (
    (r"jupyter/kernels/.*", "Jupyter starts programs that it names"),
    (r"\.config/(?:fish|git|systemd|autostart|hermes-runtime)/.*", "programs run what its files name"),
)

_SECRETS = re.compile(
    r"(?:(?:^|/)(?:\.env(?:\.(?!(?:example|sample|template|dist)$)[^/]*)?|\.envrc|[._]netrc|\.pgpass|\.my\.cnf|\.pypirc|\.npmrc"
    r"|\.git-credentials|\.ssh|\.gnupg|\.aws|\.azure|\.kube|\.docker/config\.json|\.config/gcloud|\.vault-token|\.htpasswd"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)|[^/.]*\.(?:kdbx|keystore|jks|p12|pfx))"
    r"|^/proc/[^/]+/(?:.*/)?(?:environ|mem|maps|smaps|root|cwd|exe|fd|fdinfo|task|map_files|cmdline|auxv|stack|pagemap))"
    r"[. ]*(?:/|$)"
)
# Most paths have nothing of the kind, and this says so in a tenth of the time.
_MAY_BE_PROTECTED = re.compile(r"(?:^|/)(?:\.|hermes\.toml|jupyter)|\.policy\.toml")
_TRAILING = re.compile(r"[. ]+(?=/|$)")  # what some file systems drop at the end of a name


def _protected_regex() -> tuple[re.Pattern[str], list[tuple[str, str]]]:
    entries = [(re.escape(name) + "(?:/.*)?", name, why) for name, why in _PROTECTED_NAMES.items()]
    entries += [(regex + "(?:/.*)?", "*", why) for regex, why in _PROTECTED_PATTERNS]
    entries += [(regex, "*", why) for regex, why in _PROTECTED_SEQUENCES]
    joined = "|".join(f"({regex})" for regex, _, _ in entries)
    return re.compile(f"(?:^|/)(?:{joined})$", re.DOTALL), [(name, why) for _, name, why in entries]


_PROTECTED, _PROTECTED_REASONS = _protected_regex()


@dataclasses.dataclass(frozen=True, slots=True)
class Objection:
    """Why something is never written.

    Attributes:
        name: For the rule's id.
        reason: The end of a sentence that begins with the path.
    """

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Floor:
    """The floor of one policy.

    Attributes:
        files: Folded absolute paths that are protected besides: the policy files in force, the running notebook.
    """

    files: frozenset[str] = frozenset()

    def objects_to(self, resource: PathResource) -> Objection | None:
        """Say why a path is never written; None when it may be, if the policy says so."""
        if resource.access is not Access.WRITE:
            return None
        if _folded(resource.path) in self.files:
            return Objection("in-use", "this session depends on that file as it is")
        # Within the workspace only names below it count: the workspace itself may lie in a folder such as ~/.hermes.
        path = _folded(resource.path if resource.relative is None else resource.relative)
        if _MAY_BE_PROTECTED.search(path) is None:
            return None
        match = _PROTECTED.search(path)
        if match is None or match.lastindex is None:
            return None
        name, why = _PROTECTED_REASONS[match.lastindex - 1]
        return Objection(name.lstrip("."), why)


def protecting(paths: tuple[str, ...]) -> Floor:
    """Give the floor that also protects these absolute paths."""
    return Floor(frozenset(map(_folded, paths)))


def is_secret(path: str) -> bool:
    """Whether a path sounds as if it held secrets, so that only a rule that names it exactly reaches it.

    Tools that read many files in one call leave such files out.
    """
    return _SECRETS.search(path.lower() if path.isascii() else fold(path)) is not None


def _folded(path: str) -> str:
    folded = fold(path)
    return _TRAILING.sub("", folded) if "." in folded or " " in folded else folded

"""Setting a repository up for notebooks: what git has to know, written where it belongs, and taken back without a trace.

    .gitattributes            which filter, difference and merge notebooks have; committed, so for everybody
    .gitignore                tapes, which hold in full what the tools gave; committed
    .git/config               what those names mean on this machine; not committed, so once per clone
    .pre-commit-config.yaml   a check before each commit

nbstripout's and nbdime's own installers both write `diff=` for `*.ipynb`, and the last line wins. So there is one line here,
with one name of ours for all three, which nobody else's configuration can mean something by.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from host_bridge.errors import ConfigurationError
from host_bridge.repository.blocks import find_block, put_block, take_block
from host_bridge.repository.git import Git

NAME = "hermes-notebook"
ATTRIBUTES_FILE = ".gitattributes"
IGNORE_FILE = ".gitignore"
HOOKS_FILE = ".pre-commit-config.yaml"
ATTRIBUTES = f"""\
*.ipynb filter={NAME} diff={NAME} merge={NAME}
# Executed notebooks are evidence: they are kept whole, and two runs are never made into one.
**/runs/**/*.ipynb -filter -merge
"""
IGNORED = """\
# A tape lies beside each run's output and holds in full what the tools gave. `git add -f` keeps one.
*.tape
"""
_HOOK = """\
- repo: local
  hooks:
    - id: hermes-notebooks
      name: notebooks are stripped
      entry: hermes-runtime init-repo --check
      language: system
      files: \\.ipynb$
      pass_filenames: false
"""
_SECTIONS = (f"filter.{NAME}", f"diff.{NAME}", f"merge.{NAME}")
_FOREIGN = re.compile(r"\S*\.ipynb\S*\s.*(?<![\w-])-?!?(?:filter|diff|merge)(?![\w-])")


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One thing that is to be done, or was found undone.

    Attributes:
        what: In words, as `write .gitattributes`.
        act: Does it.
        is_committed: Whether everybody who clones gets it by this.
    """

    what: str
    act: Callable[[], object]
    is_committed: bool


def program() -> str:
    """Give the command that starts this program, for a shell: that of this environment, whatever PATH says later."""
    script = Path(sys.executable).with_name("hermes-runtime")
    if os.access(script, os.X_OK):
        return shlex.quote(str(script))
    # -P: the repository must not be able to replace a module of ours.
    return f"{shlex.quote(sys.executable)} -P -m host_bridge.cli"


def settings() -> dict[str, str]:
    """Give what git's configuration has to hold."""
    return {
        f"filter.{NAME}.clean": f"{program()} strip -",
        f"filter.{NAME}.smudge": "cat",
        f"filter.{NAME}.required": "true",  # what can't be stripped is not committed
        f"diff.{NAME}.command": f"{shlex.quote(sys.executable)} -P -m host_bridge.executor.git_difference",
        f"merge.{NAME}.name": "notebooks, cell by cell",
        f"merge.{NAME}.driver": f"{program()} merge %O %A %B --git-driver=%P",
    }


def steps_to_set_up(git: Git) -> list[Step]:
    """Give what is left to do; nothing where all is in place.

    Raises:
        ConfigurationError: Somebody else's configuration is in the way; nothing of it is changed.
    """
    _check_foreign_attributes(git)
    return [*_block_steps(git), *_configuration_steps(git), *_hook_step(git)]


def steps_to_remove(git: Git) -> list[Step]:
    """Give what is there to take back."""
    steps = []
    for name in (ATTRIBUTES_FILE, IGNORE_FILE, HOOKS_FILE):
        text = read_text(git.folder / name)
        if find_block(text) is not None:
            steps.append(Step(f"take our lines out of {name}", _writing(git.folder / name, take_block(text)), True))
    for section in _SECTIONS:
        if git.run("config", "--local", "--get-regexp", rf"^{re.escape(section)}\.", check=False).stdout:
            steps.append(Step(f"remove {section} from git's configuration", _removing(git, section), False))
    return steps


def read_text(path: Path) -> str:
    """Give a file's text; empty where there is none."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} isn't UTF-8 text; nothing was changed", path=str(path)) from None


# .gitattributes, .gitignore --------------------------------------------------------------------------------------------


def _block_steps(git: Git) -> Iterator[Step]:
    for name, body in ((ATTRIBUTES_FILE, ATTRIBUTES), (IGNORE_FILE, IGNORED)):
        path = git.folder / name
        text = read_text(path)
        wanted = put_block(text, body)
        if wanted != text:
            yield Step(f"write {name}", _writing(path, wanted), True)


def _check_foreign_attributes(git: Git) -> None:
    info = Path(git.text("rev-parse", "--git-path", "info/attributes"))
    for path in (git.folder / ATTRIBUTES_FILE, git.folder / info):
        for number, line in enumerate(take_block(read_text(path)).splitlines(), start=1):
            if _FOREIGN.match(line.strip()):
                raise ConfigurationError(
                    f"{path}:{number} says already what notebooks have: {line.strip()!r}; take that line out first "
                    "(`nbstripout --uninstall`, `nbdime config-git --disable`), or go on without init-repo",
                    path=str(path),
                )


# git's configuration ---------------------------------------------------------------------------------------------------


def _configuration_steps(git: Git) -> Iterator[Step]:
    for key, value in settings().items():
        present = git.run("config", "--local", "--get-all", key, check=False).stdout.removesuffix("\n")
        if present != value:
            yield Step(f"set {key} in git's configuration", _setting(git, key, value), False)


def _setting(git: Git, key: str, value: str) -> Callable[[], object]:
    return lambda: git.run("config", "--local", "--replace-all", key, value)


def _removing(git: Git, section: str) -> Callable[[], object]:
    return lambda: git.run("config", "--local", "--remove-section", section)


# pre-commit ------------------------------------------------------------------------------------------------------------


def _hook_step(git: Git) -> Iterator[Step]:
    path = git.folder / HOOKS_FILE
    text = read_text(path)
    wanted = _with_hook(text, path)
    if wanted != text:
        yield Step(f"write {HOOKS_FILE}", _writing(path, wanted), True)


def _with_hook(text: str, path: Path) -> str:
    """Add our hook to a configuration of pre-commit, at the end of its list, and read the outcome to be sure."""
    import yaml

    if not take_block(text).strip():
        return put_block(text, "repos:\n" + _HOOK)
    if find_block(text) is not None:
        return text  # whatever a person made of our lines: they are there
    try:
        before = yaml.safe_load(text)
        entries = re.findall(r"^( *)- repo:", text, re.MULTILINE)
        indent = entries[-1] if entries else "  "
        body = "".join(f"{indent}{line}\n" for line in _HOOK.splitlines())
        wanted = put_block(text, body, indent=indent)
        after = yaml.safe_load(wanted)
        fits = after == {**before, "repos": [*(before["repos"] or []), *yaml.safe_load(_HOOK)]}
    except (yaml.YAMLError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ConfigurationError(
            f"{path} can't be added to without changing what is there; add this to its `repos` by hand, within our marks:\n"
            f"{put_block('', _HOOK)}",
            path=str(path),
        )
    return wanted


def _writing(path: Path, text: str) -> Callable[[], object]:
    return lambda: _write(path, text)


def _write(path: Path, text: str) -> None:
    """Write a file, or remove it when nothing is left: it was ours alone."""
    if text:
        with open(path, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
    else:
        path.unlink()

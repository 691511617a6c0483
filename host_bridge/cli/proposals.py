"""`propose` and `review`: a change of a notebook as a pull request, and what one comes to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from host_bridge.cli.boundary import Exit, ExitCode
from host_bridge.cli.options import FILE, SECONDS, allow_option, debug_option, json_option, policies_option
from host_bridge.cli.output import counted, plain, print_json, print_note, write_page
from host_bridge.cli.rules import rules_text
from host_bridge.cli.run_parameters import gather, parameter_options

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


_FORGE_OPTIONS = (
    click.option(
        "--remote", default="origin", show_default=True, metavar="NAME", help="The remote that has the branches."
    ),
    click.option(
        "--forge",
        "kind",
        type=click.Choice(["gitea", "github", "gitlab"]),
        help="The kind of forge, where its name doesn't tell.",
    ),
    click.option(
        "--forge-url",
        default="",
        metavar="URL",
        help="The repository's page, where the remote's address doesn't lead to it.",
    ),
    click.option(
        "--token-source",
        default="",
        metavar="SOURCE",
        help="Where the token is: env:NAME, file:PATH or keyring:SERVICE/USER.",
    ),
)


def _forge_options(function: Decorated) -> Decorated:
    for option in reversed(_FORGE_OPTIONS):
        function = option(function)
    return function


@click.command("propose")
@click.argument("notebook", type=FILE)
@click.option("--branch", default="", metavar="NAME", help="The branch; by default agent/ and the notebook's name.")
@click.option("--title", default="", metavar="TEXT", help="The pull request's title.")
@click.option("--base", default="main", show_default=True, metavar="BRANCH", help="The branch the change is for.")
@parameter_options
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, metavar="SECONDS", help="For each run.")
@click.option(
    "--nbval",
    type=click.Choice(["off", "lax", "strict"]),
    default="lax",
    show_default=True,
    help="How outputs are compared.",
)
@click.option("--profile", default="", metavar="NAME", help="The policy to run under: read-only, workspace or full.")
@policies_option
@allow_option
@click.option("--agent", default="", metavar="NAME", help="Whom the runs act for.")
@click.option("--keep-tape", is_flag=True, help="Commit the run's tape too. It holds what the tools gave, in full.")
@click.option(
    "--dry-run", is_flag=True, help="Do all but keep the branch, push it and open the pull request; print its text."
)
@_forge_options
@json_option
@debug_option
def propose_command(
    notebook: str,
    branch: str,
    title: str,
    base: str,
    given: dict[str, Any],
    allow_unknown_parameters: bool,
    timeout: float,
    nbval: str,
    profile: str,
    policies: tuple[str, ...],
    allow: tuple[str, ...],
    agent: str,
    keep_tape: bool,
    dry_run: bool,
    remote: str,
    kind: str | None,
    forge_url: str,
    token_source: str,
    as_json: bool,
) -> None:
    """Propose NOTEBOOK, as it is in your checkout, as a pull request.

    Commits it without outputs to a branch, in a working tree of its own; runs it there; compares it and its results with the
    base branch; checks it; pushes the branch; opens the pull request. Your checkout stays as it is. Done again, it updates the
    same pull request. A step that fails ends it with exit code 1, and says which branch has what was done.

    The token comes from an environment variable (GITEA_TOKEN, GITHUB_TOKEN, GITLAB_TOKEN), --token-source, or git's credential
    helper.
    """
    from host_bridge.executor import NotebookExecutor
    from host_bridge.executor.imports import import_jsonschema_lightly
    from host_bridge.repository.proposing import Proposal, ProposalOptions

    import_jsonschema_lightly()
    declared = NotebookExecutor().inspect_parameters(notebook)
    parameters = gather(declared, **given)
    run_options = {
        "profile": profile,
        "policy_files": policies,
        "policy_rules": rules_text(allow=allow, deny=()),
        "principal": agent,
        "allow_unknown_parameters": allow_unknown_parameters,
    }
    options = ProposalOptions(
        branch=branch,
        title=title,
        base=base,
        remote=remote,
        parameters=parameters,
        timeout=timeout or None,
        nbval=nbval,
        keep_tape=keep_tape,
        dry_run=dry_run,
        run_options=run_options,
    )
    proposal = Proposal(notebook, options)
    forge = None
    if not dry_run:
        from host_bridge.repository.forges.choice import open_forge

        # Before anything runs: whoever has no token finds out now.
        forge = open_forge(proposal.git, remote, kind=kind or "", address=forge_url, token=token_source)
    proposed = proposal.propose(forge)
    if as_json:
        print_json(proposed.to_dict())
    elif proposed.pull_request is None:
        click.echo(proposed.body)
    else:
        click.echo(f"{'opened' if proposed.is_new else 'updated'} {plain(proposed.pull_request.url)}")


@click.command("review")
@click.argument("change", metavar="PR|BASE..HEAD")
@click.option("--out", type=FILE, metavar="FILE", help="Write the page there; by default review.html.")
@click.option("--web", is_flag=True, help="Open nbdime's web view instead.")
@click.option(
    "--comment",
    is_flag=True,
    help="Also write the summary as a comment to the pull request, in place of an earlier one.",
)
@click.option("--repository", "folder", default=".", metavar="DIR", help="A folder in the repository.")
@_forge_options
@json_option
@debug_option
def review_command(
    change: str,
    out: str | None,
    web: bool,
    comment: bool,
    folder: str,
    remote: str,
    kind: str | None,
    forge_url: str,
    token_source: str,
    as_json: bool,
) -> None:
    """Look at a change of notebooks: a pull request by its number, or the commits of BASE..HEAD.

    Writes one page: permissions, parameters and results before and after, cells side by side, outputs with their pictures. It
    has no scripts and fetches nothing.
    """
    from host_bridge.executor.imports import import_jsonschema_lightly
    from host_bridge.repository.git import Git
    from host_bridge.repository.reviewing import post, review

    import_jsonschema_lightly()
    git = Git.at(folder)
    is_number = ".." not in change
    if comment and not is_number:
        raise click.UsageError("--comment needs the number of a pull request")
    forge = None
    if is_number:
        from host_bridge.repository.forges.choice import open_forge

        forge = open_forge(git, remote, kind=kind or "", address=forge_url, token=token_source)
    found = review(git, change, forge=forge, remote=remote)
    if web:
        _open_web_view(git.folder, found.base, found.head)
        return
    written = out or ("" if as_json else "review.html")
    if written:
        write_page(written, found.page())
    commented, is_new = (
        post(forge, found.number, found) if comment and forge and found.number is not None else ("", False)
    )
    if as_json:
        print_json({**found.to_dict(), "page": written or None, "comment": commented or None})
        return
    for one in found.notebooks:
        told = plain(one.problem) or f"{counted(len(one.changes.cells), 'cell')} changed"
        click.echo(f"{plain(one.path)}: {told}")
    if found.gains:
        click.echo("permissions are gained")
    click.echo(f"saved {plain(written)}")
    if commented:
        click.echo(f"{'commented' if is_new else 'updated the comment'} {plain(commented)}")


def _open_web_view(folder: Path, base: str, head: str) -> None:
    """nbdime's own page with a server of its own, until the person ends it."""
    program = Path(sys.executable).with_name("nbdiff-web")
    if not program.exists():
        raise click.UsageError(f"nbdime's web view isn't installed beside {sys.executable}; install nbdime there")
    print_note("nbdime's web view; end it with Ctrl-C")
    done = subprocess.run([program, base, head], cwd=folder, check=False)
    if done.returncode != 0:
        raise Exit(ExitCode.FAILED)

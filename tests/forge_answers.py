"""How each kind of forge shows a pull request, a comment and a user: the fields of the published descriptions.

Gitea's are all that its description has, but for those that the real one gives as null while a pull request is open and
nobody's; the description knows no null. Of GitHub's and GitLab's there are those that the client reads, with their neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANN, OTHER = 7, 8  # whose the token is, and somebody else
_WHEN = "2026-01-02T03:04:05Z"
_SHA = "5ca1ab1e" * 5
_REPOSITORY, _FORK = 3, 4
_NAMES = {ANN: "ann", OTHER: "bob"}


def pull_request(kind: str, repository: str, number: int, pull: Mapping[str, Any]) -> dict[str, Any]:
    """Show a pull request.

    Args:
        kind: Of forge.
        repository: Its page.
        number: The pull request's.
        pull: What is kept of it: `head`, `base`, `title`, `body`, and whether it `is_fork`.
    """
    url = f"{repository}/pulls/{number}"
    source = _FORK if pull.get("is_fork") else _REPOSITORY
    if kind == "gitlab":
        branches = {"source_branch": pull["head"], "target_branch": pull["base"]}
        projects = {"source_project_id": source, "target_project_id": _REPOSITORY}
        return {"id": 100 + number, "iid": number, "web_url": url, "title": pull["title"], **branches, **projects}
    shown = {"id": 100 + number, "number": number, "state": "open", "html_url": url, "title": pull["title"]}
    shown |= {"body": pull["body"] or "", "user": user(kind, repository, ANN)}
    sides = (("head", source), ("base", _REPOSITORY))
    return shown | (
        {side: {"ref": pull[side], "sha": _SHA, "repo": {"id": id_}} for side, id_ in sides}
        if kind == "github"
        else {side: _branch(repository, pull[side], id_) for side, id_ in sides} | _rest_of_gitea(url)
    )


def comment(kind: str, repository: str, id_: int, made: Mapping[str, Any]) -> dict[str, Any]:
    """Show a comment, of which its pull request's `number`, its `author` and its `body` are kept."""
    url = f"{repository}/pulls/{made['number']}"
    author = user(kind, repository, made["author"])
    shown = {"id": id_, "body": made["body"], "created_at": _WHEN, "updated_at": _WHEN}
    if kind == "gitlab":
        return shown | {"author": author, "system": False, "noteable_iid": made["number"]}
    shown |= {"user": author, "html_url": f"{url}#issuecomment-{id_}", "issue_url": ""}
    gitea = {"pull_request_url": url, "original_author": "", "original_author_id": 0, "assets": []}
    return shown | (gitea if kind == "gitea" else {})


def user(kind: str, repository: str, id_: int) -> dict[str, Any]:
    """Show somebody."""
    name = _NAMES[id_]
    page = f"{repository.removesuffix('/ann/reports')}/{name}"
    if kind == "gitlab":
        return {"id": id_, "username": name, "name": name.title(), "web_url": page}
    if kind == "github":
        return {"id": id_, "login": name, "type": "User", "html_url": page}
    texts = ("full_name", "language", "location", "website", "description", "login_name")
    flags = ("is_admin", "active", "restricted", "prohibit_login")
    counts = ("source_id", "followers_count", "following_count", "starred_repos_count")
    return {
        **{"id": id_, "login": name, "type": "User", "visibility": "public", "email": f"{name}@noreply.localhost"},
        **{"html_url": page, "avatar_url": f"{page}.png", "created": _WHEN, "last_login": _WHEN},
        **dict.fromkeys(texts, ""),
        **dict.fromkeys(flags, False),
        **dict.fromkeys(counts, 0),
    }


def _branch(repository: str, ref: str, id_: int) -> dict[str, Any]:
    owner = user("gitea", repository, ANN if id_ == _REPOSITORY else OTHER)
    page = repository.replace("/ann/", f"/{owner['login']}/")
    shown = {
        **{"id": id_, "owner": owner, "name": "reports", "full_name": f"{owner['login']}/reports", "description": ""},
        **{"empty": False, "private": False, "archived": False, "fork": id_ == _FORK, "default_branch": "main"},
        **{"html_url": page, "url": page, "clone_url": f"{page}.git", "ssh_url": f"{page}.git"},
        **{"created_at": _WHEN, "updated_at": _WHEN, "object_format_name": "sha1"},
        "permissions": {"admin": False, "push": True, "pull": True},
    }
    return {"label": ref, "ref": ref, "sha": _SHA, "repo_id": id_, "repo": shown}


def _rest_of_gitea(url: str) -> dict[str, Any]:
    counts = ("comments", "review_comments", "additions", "deletions", "changed_files", "pin_order", "content_version")
    return {
        **{"url": url, "diff_url": f"{url}.diff", "patch_url": f"{url}.patch", "merge_base": _SHA},
        **{"mergeable": True, "merged": False, "draft": False, "is_locked": False, "allow_maintainer_edit": False},
        **{"labels": [], "assignees": [], "requested_reviewers": [], "requested_reviewers_teams": []},
        **{"created_at": _WHEN, "updated_at": _WHEN},
        **dict.fromkeys(counts, 0),
    }

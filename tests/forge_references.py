"""What GitHub's and GitLab's references say of the calls that the client makes, as far as the forge of the tests checks it.

Neither is at hand as a description that a program can check by, as Gitea's is (`gitea_description.py`): these are written down.
"""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what it may be sent, and what it answers.

    Attributes:
        path: As an expression; its group is the number that it is about.
        does: What comes of it, as the forge calls it.
        sent: The fields that its body may have, and those it has to have behind a `!`.
        query: The parameters it takes.
    """

    method: str
    path: str
    code: int
    does: str
    sent: str = ""
    query: str = ""

    def refusal(self, query: str, body: bytes) -> str:
        """Say what is wrong with a request; nothing if all is well."""
        if unknown := set(urllib.parse.parse_qs(query)) - set(self.query.split()):
            return f"unknown parameters {unknown}"
        content = json.loads(body) if body else {}
        if not isinstance(content, dict):
            return "the body is no object"
        names = self.sent.split()
        known = {name.removeprefix("!") for name in names}
        missing = {name[1:] for name in names if name.startswith("!")} - set(content)
        wrong = [name for name, value in content.items() if name not in known or not isinstance(value, str)]
        return f"unknown or no text: {wrong}, missing: {missing}" if wrong or missing else ""


_PULL = "/api/v3/repos/ann/reports/pulls"
_ISSUE = "/api/v3/repos/ann/reports/issues"
_MERGE = "/api/v4/projects/ann%2Freports/merge_requests"
OPERATIONS = {
    "github": [
        Operation("GET", _PULL, 200, "list", query="state head base sort direction per_page page"),
        Operation("GET", rf"{_PULL}/(\d+)", 200, "get"),
        Operation("POST", _PULL, 201, "create", sent="!head !base title body head_repo draft"),
        Operation("PATCH", rf"{_PULL}/(\d+)", 200, "update", sent="title body state base maintainer_can_modify"),
        Operation("GET", rf"{_ISSUE}/(\d+)/comments", 200, "comments", query="since per_page page"),
        Operation("POST", rf"{_ISSUE}/(\d+)/comments", 201, "comment", sent="!body"),
        Operation("PATCH", rf"{_ISSUE}/comments/(\d+)", 200, "edit_comment", sent="!body"),
        Operation("GET", r"/api/v3/user", 200, "me"),
    ],
    "gitlab": [
        Operation("GET", _MERGE, 200, "list", query="state source_branch target_branch page per_page"),
        Operation("GET", rf"{_MERGE}/(\d+)", 200, "get"),
        Operation("POST", _MERGE, 201, "create", sent="!source_branch !target_branch !title description labels"),
        Operation("PUT", rf"{_MERGE}/(\d+)", 200, "update", sent="title description target_branch state_event labels"),
        Operation("GET", rf"{_MERGE}/(\d+)/notes", 200, "comments", query="sort order_by page per_page"),
        Operation("POST", rf"{_MERGE}/(\d+)/notes", 201, "comment", sent="!body"),
        Operation("PUT", rf"{_MERGE}/\d+/notes/(\d+)", 200, "edit_comment", sent="!body"),
        Operation("GET", r"/api/v4/user", 200, "me"),
    ],
}


def find_operation(kind: str, method: str, path: str) -> tuple[Operation, int] | None:
    """Find the operation that a request asks for, and the number in its path; 0 if there is none."""
    for operation in OPERATIONS[kind]:
        match = re.fullmatch(operation.path, path)
        if match and operation.method == method:
            return operation, int(match[1]) if match.groups() else 0
    return None

"""A forge on this machine: answers what the real ones' published descriptions say, and refuses what they don't know.

The operations and the shapes of what is sent are those of Gitea's OpenAPI description (repoListPullRequests,
repoGetPullRequest, repoCreatePullRequest, repoEditPullRequest, issueCreateComment), and of GitHub's and GitLab's references,
as far as they are used.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "t0ken-of-ann"


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation: what it may be sent, and what it answers.

    Attributes:
        sent: The fields that its body may have, and those it has to have behind a `!`.
        query: The parameters it takes.
    """

    method: str
    path: str
    code: int
    does: str
    sent: str = ""
    query: str = ""


_PULL = "/repos/ann/reports/pulls"
_PROJECT = "/projects/ann%2Freports/merge_requests"
OPERATIONS = {
    "gitea": [
        Operation("GET", rf"/api/v1{_PULL}", 200, "list", query="state sort milestone labels poster base_branch page limit"),
        Operation("GET", rf"/api/v1{_PULL}/(\d+)", 200, "get"),
        Operation("POST", rf"/api/v1{_PULL}", 201, "create", sent="!head !base !title body assignee due_date"),
        Operation("PATCH", rf"/api/v1{_PULL}/(\d+)", 201, "update", sent="title body base state assignee due_date"),
        Operation("POST", r"/api/v1/repos/ann/reports/issues/(\d+)/comments", 201, "comment", sent="!body updated_at"),
    ],
    "github": [
        Operation("GET", rf"/api/v3{_PULL}", 200, "list", query="state head base sort direction per_page page"),
        Operation("GET", rf"/api/v3{_PULL}/(\d+)", 200, "get"),
        Operation("POST", rf"/api/v3{_PULL}", 201, "create", sent="!head !base title body head_repo draft"),
        Operation("PATCH", rf"/api/v3{_PULL}/(\d+)", 200, "update", sent="title body state base maintainer_can_modify"),
        Operation("POST", r"/api/v3/repos/ann/reports/issues/(\d+)/comments", 201, "comment", sent="!body"),
    ],
    "gitlab": [
        Operation("GET", rf"/api/v4{_PROJECT}", 200, "list", query="state source_branch target_branch page per_page"),
        Operation("GET", rf"/api/v4{_PROJECT}/(\d+)", 200, "get"),
        Operation("POST", rf"/api/v4{_PROJECT}", 201, "create", sent="!source_branch !target_branch !title description labels"),
        Operation("PUT", rf"/api/v4{_PROJECT}/(\d+)", 200, "update", sent="title description target_branch state_event labels"),
        Operation("POST", rf"/api/v4{_PROJECT}/(\d+)/notes", 201, "comment", sent="!body"),
    ],
}  # fmt: skip
_AUTHORISATION = {"gitea": f"token {TOKEN}", "github": f"Bearer {TOKEN}", "gitlab": f"Bearer {TOKEN}"}


class ForgeServer:
    """What happened at the forge, and what is to go wrong there.

    Attributes:
        pulls: The pull requests, by number.
        comments: What was written, as `(number, text)`.
        requests: What was asked, as `METHOD /path`.
        failures: What goes wrong next: a status, or `cut` for a connection that breaks after the request has been done.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pulls: dict[int, dict[str, Any]] = {}
        self.comments: list[tuple[int, str]] = []
        self.requests: list[str] = []
        self.failures: list[int | str] = []
        self.address = ""

    @property
    def repository(self) -> str:
        return f"{self.address}/ann/reports"

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        path, _, query = target.partition("?")
        self.requests.append(f"{method} {path}")
        if headers.get("Authorization") != _AUTHORISATION[self.kind]:
            return 401, {"message": f"token {headers.get('Authorization')} is not known"}
        for operation in OPERATIONS[self.kind]:
            match = re.fullmatch(operation.path, path)
            if match and operation.method == method:
                parameters = dict(urllib.parse.parse_qsl(query))
                if unknown := set(parameters) - set(operation.query.split()):
                    return 422, {"message": f"unknown parameters {unknown}"}
                content = json.loads(body) if body else {}
                if problem := _problem(operation, content):
                    return 422, {"message": problem}
                number = int(match[1]) if match.groups() else 0
                if number and number not in self.pulls:
                    return 404, {"message": "not found"}
                return getattr(self, f"_{operation.does}")(operation.code, number, content, parameters)
        return 404, {"message": f"no operation {method} {path}"}

    def _list(self, code: int, _: int, __: Any, parameters: Mapping[str, str]) -> tuple[int, Any]:
        page, limit = int(parameters.get("page", 1)), int(parameters.get("limit", 30))
        listed = [self._shown(number) for number in sorted(self.pulls)]
        return code, listed[(page - 1) * limit : page * limit]

    def _get(self, code: int, number: int, _: Any, __: Any) -> tuple[int, Any]:
        return code, self._shown(number)

    def _create(self, code: int, _: int, content: dict[str, Any], __: Any) -> tuple[int, Any]:
        made = {
            "head": content.get("head", content.get("source_branch")),
            "base": content.get("base", content.get("target_branch")),
            "title": content["title"],
            "body": content.get("body", content.get("description")),
        }
        if any((made["head"], made["base"]) == (pull["head"], pull["base"]) for pull in self.pulls.values()):
            return 409, {"message": "pull request already exists for these targets"}
        number = len(self.pulls) + 1
        self.pulls[number] = made
        return code, self._shown(number)

    def _update(self, code: int, number: int, content: dict[str, Any], _: Any) -> tuple[int, Any]:
        pull = self.pulls[number]
        pull |= {"title": content["title"], "body": content.get("body", content.get("description"))}
        return code, self._shown(number)

    def _comment(self, code: int, number: int, content: dict[str, Any], _: Any) -> tuple[int, Any]:
        self.comments.append((number, content["body"]))
        return code, {"id": len(self.comments), "html_url": f"{self.repository}/pulls/{number}#issuecomment-1"}

    def _shown(self, number: int) -> dict[str, Any]:
        pull = self.pulls[number]
        url = f"{self.repository}/pulls/{number}"
        if self.kind == "gitlab":
            branches = {"source_branch": pull["head"], "target_branch": pull["base"]}
            return {"iid": number, "web_url": url, "title": pull["title"], **branches}
        return {
            "number": number,
            "html_url": url,
            "title": pull["title"],
            "head": {"ref": pull["head"]},
            "base": {"ref": pull["base"]},
        }


def _problem(operation: Operation, content: Any) -> str:
    if not isinstance(content, dict):
        return "the body is no object"
    names = operation.sent.split()
    known = {name.removeprefix("!") for name in names}
    missing = {name[1:] for name in names if name.startswith("!")} - set(content)
    wrong = [name for name, value in content.items() if name not in known or not isinstance(value, str)]
    return f"unknown or no text: {wrong}, missing: {missing}" if wrong or missing else ""


@contextmanager
def forge_server(kind: str = "gitea") -> Iterator[ForgeServer]:
    """Serve a forge on the loopback."""
    forge = ForgeServer(kind)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            failure = forge.failures.pop(0) if forge.failures else None
            if isinstance(failure, int):
                forge.requests.append(f"{self.command} {self.path}")
                code, content = failure, {"message": "it was told to fail"}
            else:
                code, content = forge.answer(self.command, self.path, dict(self.headers), body)
            text = json.dumps(content).encode()
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", f"{forge.address}/elsewhere")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text[: len(text) // 2] if failure == "cut" else text)

        do_GET = do_POST = do_PATCH = do_PUT = _handle  # noqa: N815 - http.server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forge.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield forge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

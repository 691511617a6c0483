"""A forge on this machine: answers what the real ones' published descriptions say, and refuses what they don't know.

What Gitea may be asked, and answers, is checked against its own description (`gitea_description.py`): a request that doesn't
fit is refused with 422, and an answer of this server that doesn't fit fails the test that uses it. The operations of GitHub and
GitLab are written down here from their references, as far as they are used.
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

import forge_answers
from gitea_description import DescriptionError, find_operation

TOKEN = "t0ken-of-ann"


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of GitHub or GitLab: what it may be sent, and what it answers.

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
    "github": [
        Operation("GET", rf"/api/v3{_PULL}", 200, "list", query="state head base sort direction per_page page"),
        Operation("GET", rf"/api/v3{_PULL}/(\d+)", 200, "get"),
        Operation("POST", rf"/api/v3{_PULL}", 201, "create", sent="!head !base title body head_repo draft"),
        Operation("PATCH", rf"/api/v3{_PULL}/(\d+)", 200, "update", sent="title body state base maintainer_can_modify"),
        Operation("GET", r"/api/v3/repos/ann/reports/issues/(\d+)/comments", 200, "comments", query="since per_page page"),
        Operation("POST", r"/api/v3/repos/ann/reports/issues/(\d+)/comments", 201, "comment", sent="!body"),
        Operation("PATCH", r"/api/v3/repos/ann/reports/issues/comments/(\d+)", 200, "edit_comment", sent="!body"),
        Operation("GET", r"/api/v3/user", 200, "me"),
    ],
    "gitlab": [
        Operation("GET", rf"/api/v4{_PROJECT}", 200, "list", query="state source_branch target_branch page per_page"),
        Operation("GET", rf"/api/v4{_PROJECT}/(\d+)", 200, "get"),
        Operation("POST", rf"/api/v4{_PROJECT}", 201, "create", sent="!source_branch !target_branch !title description labels"),
        Operation("PUT", rf"/api/v4{_PROJECT}/(\d+)", 200, "update", sent="title description target_branch state_event labels"),
        Operation("GET", rf"/api/v4{_PROJECT}/(\d+)/notes", 200, "comments", query="sort order_by page per_page"),
        Operation("POST", rf"/api/v4{_PROJECT}/(\d+)/notes", 201, "comment", sent="!body"),
        Operation("PUT", rf"/api/v4{_PROJECT}/\d+/notes/(\d+)", 200, "edit_comment", sent="!body"),
        Operation("GET", r"/api/v4/user", 200, "me"),
    ],
}  # fmt: skip
_GITEA = {
    "repoListPullRequests": "list",
    "repoGetPullRequest": "get",
    "repoCreatePullRequest": "create",
    "repoEditPullRequest": "update",
    "issueGetComments": "comments",
    "issueCreateComment": "comment",
    "issueEditComment": "edit_comment",
    "userGetCurrent": "me",
}
_AUTHORISATION = {"gitea": f"token {TOKEN}", "github": f"Bearer {TOKEN}", "gitlab": f"Bearer {TOKEN}"}


class ForgeServer:
    """What happened at the forge, and what is to go wrong there.

    Attributes:
        pulls: The open pull requests, by number.
        comments: What was written, by id: on which `number`, by which `author`, with which `body`.
        requests: What was asked, as `METHOD /path`.
        failures: What goes wrong next: a status, or `cut` for a connection that breaks after the request has been done.
        largest_page: The most that it gives at once, whatever it is asked for.
        knows_me: Whether the token may say whose it is.
        drifts: Answers of this server that Gitea's description doesn't allow.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pulls: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.failures: list[int | str] = []
        self.largest_page = 50
        self.knows_me = True
        self.drifts: list[str] = []
        self.address = ""

    @property
    def repository(self) -> str:
        return f"{self.address}/ann/reports"

    @property
    def texts(self) -> list[tuple[int, str]]:
        """The comments as `(number, text)`."""
        return [(made["number"], made["body"]) for made in self.comments.values()]

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        path, _, query = target.partition("?")
        self.requests.append(f"{method} {path}")
        if headers.get("Authorization") != _AUTHORISATION[self.kind]:
            return 401, {"message": f"token {headers.get('Authorization')} is not known"}
        if self.kind == "gitea":
            return self._answer_as_gitea(method, path, query, headers.get("Content-Type"), body)
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
                return self._do(operation.does, operation.code, number, content, parameters)
        return 404, {"message": f"no operation {method} {path}"}

    def told_to_fail(self, method: str, target: str, code: int) -> Any:
        """Give what is in a failure that was wished for."""
        found = find_operation(method, target.partition("?")[0]) if self.kind == "gitea" else None
        return {"message": "it was told to fail"} if found is None or found[0].has_content(code) else None

    def _answer_as_gitea(
        self, method: str, path: str, query: str, content_type: str | None, body: bytes
    ) -> tuple[int, Any]:
        found = find_operation(method, path)
        if found is None:
            return 404, None
        operation, values = found
        if problem := operation.refusal(values, query, content_type, body):
            return 422, {"message": problem}
        if (values.get("owner", "ann"), values.get("repo", "reports")) != ("ann", "reports"):
            return 404, None
        number = int(values.get("index") or values.get("id") or 0)
        parameters = dict(urllib.parse.parse_qsl(query))
        does = _GITEA[operation.name]
        code, content = self._do(does, operation.success, number, json.loads(body) if body else {}, parameters)
        content = content if operation.has_content(code) else None
        operation.check_answer(code, content)
        return code, content

    def _do(
        self, does: str, code: int, number: int, content: dict[str, Any], parameters: Mapping[str, str]
    ) -> tuple[int, Any]:
        if number and number not in (self.comments if does == "edit_comment" else self.pulls):
            return 404, {"message": "not found"}
        done: tuple[int, Any] = getattr(self, f"_{does}")(code, number, content, parameters)
        return done

    def _list(self, code: int, _: int, __: Any, parameters: Mapping[str, str]) -> tuple[int, Any]:
        base = parameters.get("base_branch")
        numbers = [number for number, pull in sorted(self.pulls.items()) if base in (None, pull["base"])]
        return code, self._page(list(map(self._shown, numbers)), parameters)

    def _get(self, code: int, number: int, _: Any, __: Any) -> tuple[int, Any]:
        return code, self._shown(number)

    def _create(self, code: int, _: int, content: dict[str, Any], __: Any) -> tuple[int, Any]:
        made = {
            "head": content.get("head", content.get("source_branch")),
            "base": content.get("base", content.get("target_branch")),
            "title": content.get("title"),
            "body": content.get("body", content.get("description")),
        }
        if not (made["head"] and made["base"] and made["title"]):
            return 422, {"message": "head, base and title are required"}
        if any((made["head"], made["base"]) == (pull["head"], pull["base"]) for pull in self.pulls.values()):
            return 409, {"message": "pull request already exists for these targets"}
        number = len(self.pulls) + 1
        self.pulls[number] = made
        return code, self._shown(number)

    def _update(self, code: int, number: int, content: dict[str, Any], _: Any) -> tuple[int, Any]:
        pull = self.pulls[number]
        pull |= {"title": content["title"], "body": content.get("body", content.get("description"))}
        return code, self._shown(number)

    def _comments(self, code: int, number: int, _: Any, parameters: Mapping[str, str]) -> tuple[int, Any]:
        listed = [self._shown_comment(id_) for id_, made in self.comments.items() if made["number"] == number]
        return code, listed if self.kind == "gitea" else self._page(listed, parameters)

    def _comment(self, code: int, number: int, content: dict[str, Any], _: Any) -> tuple[int, Any]:
        id_ = 1000 + len(self.comments)
        self.comments[id_] = {"number": number, "author": forge_answers.ANN, "body": content["body"]}
        return code, self._shown_comment(id_)

    def _edit_comment(self, code: int, id_: int, content: dict[str, Any], _: Any) -> tuple[int, Any]:
        self.comments[id_]["body"] = content["body"]
        return code, self._shown_comment(id_)

    def _me(self, code: int, *_: Any) -> tuple[int, Any]:
        if not self.knows_me:
            return 403, {"message": "the token is for repositories only"}
        return code, forge_answers.user(self.kind, self.repository, forge_answers.ANN)

    def _page(self, listed: list[Any], parameters: Mapping[str, str]) -> list[Any]:
        limit = min(int(parameters.get("limit") or parameters.get("per_page") or 30), self.largest_page)
        page = int(parameters.get("page", 1))
        return listed[(page - 1) * limit : page * limit]

    def _shown(self, number: int) -> dict[str, Any]:
        return forge_answers.pull_request(self.kind, self.repository, number, self.pulls[number])

    def _shown_comment(self, id_: int) -> dict[str, Any]:
        return forge_answers.comment(self.kind, self.repository, id_, self.comments[id_])


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
    """Serve a forge on the loopback.

    Raises:
        DescriptionError: At the end, if it gave an answer that the real one never would.
    """
    forge = ForgeServer(kind)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            failure = forge.failures.pop(0) if forge.failures else None
            if isinstance(failure, int):
                forge.requests.append(f"{self.command} {self.path}")
                code, content = failure, forge.told_to_fail(self.command, self.path, failure)
            else:
                code, content = self._answer(body)
            text = b"" if content is None else json.dumps(content).encode()
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", f"{forge.address}/elsewhere")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text[: len(text) // 2] if failure == "cut" else text)

        def _answer(self, body: bytes) -> tuple[int, Any]:
            try:
                return forge.answer(self.command, self.path, dict(self.headers), body)
            except DescriptionError as error:
                forge.drifts.append(str(error))
                return 500, {"message": str(error)}

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
    if forge.drifts:
        raise DescriptionError("; ".join(forge.drifts))

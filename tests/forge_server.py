"""A forge on this machine: answers what the real ones' published descriptions say, and refuses what they don't know.

What Gitea may be asked, and answers, is checked against its own description (`gitea_description.py`): a request that doesn't
fit is refused with 422, and an answer of this server that doesn't fit fails the test that uses it. Of GitHub and GitLab only
requests are checked (`forge_references.py`).
"""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import forge_answers
import forge_references
import gitea_description
from gitea_description import DescriptionError

TOKEN = "t0ken-of-ann"

_GITEA = {  # which of the methods below does an operation of the description
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
        found = forge_references.find_operation(self.kind, method, path)
        if found is None:
            return 404, {"message": f"no operation {method} {path}"}
        operation, number = found
        if problem := operation.refusal(query, body):
            return 422, {"message": problem}
        return self._do(operation.does, operation.code, number, body, query)

    def told_to_fail(self, method: str, target: str, code: int) -> Any:
        """Give what is in a failure that was wished for."""
        found = gitea_description.find_operation(method, target.partition("?")[0]) if self.kind == "gitea" else None
        return {"message": "it was told to fail"} if found is None or found[0].has_content(code) else None

    def _answer_as_gitea(
        self, method: str, path: str, query: str, content_type: str | None, body: bytes
    ) -> tuple[int, Any]:
        found = gitea_description.find_operation(method, path)
        if found is None:
            return 404, None
        operation, values = found
        if problem := operation.refusal(values, query, content_type, body):
            return 422, {"message": problem}
        if (values.get("owner", "ann"), values.get("repo", "reports")) != ("ann", "reports"):
            return 404, None
        number = int(values.get("index") or values.get("id") or 0)
        code, content = self._do(_GITEA[operation.name], operation.success, number, body, query)
        content = content if operation.has_content(code) else None
        operation.check_answer(code, content)
        return code, content

    def _do(self, does: str, code: int, number: int, body: bytes, query: str) -> tuple[int, Any]:
        if number and number not in (self.comments if does == "edit_comment" else self.pulls):
            return 404, {"message": "not found"}
        content, parameters = json.loads(body) if body else {}, dict(urllib.parse.parse_qsl(query))
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
        ours = [(pull["head"], pull["base"]) for pull in self.pulls.values() if not pull.get("is_fork")]
        if (made["head"], made["base"]) in ours:
            return 409, {"message": "pull request already exists for these targets"}
        number = len(self.pulls) + 1
        self.pulls[number] = made
        return code, self._shown(number)

    def _update(self, code: int, number: int, content: dict[str, Any], _: Any) -> tuple[int, Any]:
        names = {"title": "title", "body": "body", "description": "body"}
        self.pulls[number] |= {names[name]: value for name, value in content.items() if name in names}
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

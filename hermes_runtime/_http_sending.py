"""What a request sends, made from what people pass: parameters of a URL, fields of a form, files, and who asks. Pure.

Only what holds no secret is put together here. Where a secret may stand, the host is given the parts, and puts them together
when it has its value.
"""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hermes_runtime._arguments import view_bytes
from hermes_runtime._errors import InvalidToolRequestError
from hermes_runtime._secrets import is_hidden

_USERINFO = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:[/\\]{2}[^/?#]*@")
_CONTENT_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,60}(?:; ?[A-Za-z0-9-]{1,40}=[ -~]{1,80})?"
)
_OTHER_TYPE = "application/octet-stream"  # guessing from a name would give other bytes on another machine
_BYTES = (bytes, bytearray, memoryview)


def whole_url(url: str, params: Any) -> str:
    """Give a URL with parameters in its query, behind those it has.

    Raises:
        InvalidToolRequestError: They have a secret, or it has credentials.
    """
    if is_hidden(url):
        raise _in_url()
    if not isinstance(url, str):
        raise InvalidToolRequestError(f"the URL must be text, not {type(url).__name__}")
    if _USERINFO.match(url):
        raise InvalidToolRequestError(
            'the URL has credentials before its host, where they would be recorded: leave them out and give auth=("user", '
            'hermes.secret("NAME"))'
        )
    if params is None:
        return url
    pairs = list(fields(params, "params"))
    if any(is_hidden(value) for _, value in pairs):
        raise _in_url()
    rest, mark, fragment = url.partition("#")
    query = urllib.parse.urlencode(pairs)
    if query:
        rest += ("" if rest.endswith(("?", "&")) else "&" if "?" in rest else "?") + query
    return rest + mark + fragment


def fields(given: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Give names and values, each a text or a secret: of a mapping, whose values may be lists, or of pairs. None is left out.

    Raises:
        InvalidToolRequestError: Something else; says what and where.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Mapping | Iterable):
        raise InvalidToolRequestError(
            f"{name} is a dict of fields, or pairs of names and values; text and bytes that are sent as they are belong in body"
        )
    pairs = given.items() if isinstance(given, Mapping) else given
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise InvalidToolRequestError(f"{name} has {pair!r:.60}, which is no pair of a name and a value")
        field, value = pair
        for each in value if isinstance(value, list | tuple) else (value,):
            if each is not None:
                yield str(field), _text(each, f"{name}[{field!r:.50}]")


def credentials(auth: Any) -> Any:
    """Give who asks as it is sent: a token, or a user and a password, at least one of which is a secret.

    Raises:
        InvalidToolRequestError: It is something else.
    """
    if is_hidden(auth):
        return auth
    if (
        isinstance(auth, tuple | list)
        and len(auth) == 2
        and all(is_hidden(each) or isinstance(each, str) for each in auth)
    ):
        if any(map(is_hidden, auth)):
            return list(auth)
        raise InvalidToolRequestError(
            "the password in auth is text that the notebook has, and would be recorded: give hermes.secret(…); "
            "hermes.status().secrets lists the names"
        )
    raise InvalidToolRequestError(
        'auth is ("user", hermes.secret("NAME")), or hermes.secret("NAME") for a bearer token'
    )


def multipart(data: Any, files: Any) -> tuple[bytes, str]:
    """Give a body of fields and files, and its content type. The same parts give the same bytes, so that a replay finds them.

    Raises:
        InvalidToolRequestError: A secret, a name that would end its line, or no content.
    """
    parts = [] if data is None else [_field(name, value) for name, value in fields(data, "data")]
    if not isinstance(files, Mapping):
        raise InvalidToolRequestError('files is a dict: {"field": ("name.csv", b"…")}')
    parts += [_file(name, value) for name, value in files.items()]
    digest = hashlib.sha256()
    for head, content in parts:
        for piece in (head, content):
            digest.update(len(piece).to_bytes(8))
            digest.update(piece)
    boundary = f"hermes-{digest.hexdigest()[:40]}"  # nobody can write a part that has its own digest in it
    mark = f"--{boundary}".encode()
    pieces: list[Any] = []
    for head, content in parts:
        pieces += (mark, b"\r\n", head, b"\r\n\r\n", content, b"\r\n")
    return b"".join([*pieces, mark, b"--\r\n"]), f"multipart/form-data; boundary={boundary}"


def _field(name: str, value: Any) -> tuple[bytes, Any]:
    if is_hidden(value):
        raise InvalidToolRequestError(
            f"data[{name!r:.50}] can't be a secret beside files: put it into a header or auth, or send the form without files"
        )
    return f'Content-Disposition: form-data; name="{_quoted(name)}"'.encode(), value.encode()


def _file(name: Any, value: Any) -> tuple[bytes, Any]:
    parts = tuple(value) if isinstance(value, tuple | list) else (None, value)
    if not isinstance(name, str) or len(parts) not in (2, 3):
        raise InvalidToolRequestError(
            f'files[{name!r:.50}] is content, ("name", content), or ("name", content, "text/csv")'
        )
    shown, content, kind = (*parts, None)[:3]
    if hasattr(content, "read"):
        shown = shown or str(getattr(content, "name", "")).rpartition("/")[2]
        content = content.read()
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, _BYTES):
        raise InvalidToolRequestError(
            f"files[{name!r:.50}]: the content is bytes, text or an open file, not {type(content).__name__}; of a file of the "
            "workspace hermes.read_bytes(path) gives them"
        )
    kind = _OTHER_TYPE if kind is None else kind
    if not isinstance(kind, str) or not _CONTENT_TYPE.fullmatch(kind):
        raise InvalidToolRequestError(f"files[{name!r:.50}]: {kind!r:.60} is no content type, such as text/csv")
    head = (
        f'Content-Disposition: form-data; name="{_quoted(name)}"; filename="{_quoted(shown or name)}"\r\n'
        f"Content-Type: {kind}"
    )
    return head.encode(), view_bytes(content)


def _quoted(name: Any) -> str:
    """Write a name between quotes, as browsers do. One that would end its line is refused: it could begin a part of its own."""
    if not isinstance(name, str) or not name.isprintable():
        raise InvalidToolRequestError(
            f"{name!r:.60} has a line break or another invisible character: name it otherwise"
        )
    return name.replace('"', "%22")


def _text(value: Any, place: str) -> Any:
    if is_hidden(value) or type(value) is str:
        return value
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidToolRequestError(f"{place} is a {type(value).__name__}: give text, a number, or a list of them")


def _in_url() -> InvalidToolRequestError:
    return InvalidToolRequestError(
        "no secret can stand in a URL, which servers write into logs: use a header or the body"
    )

"""What Gitea's published description says of the calls that the client makes, and whether a request or an answer is as it says.

`gitea_openapi.json` is that description, reduced to those calls. What it doesn't name is refused, in requests and in answers:
the client learns of a misspelt field, and a forge of the tests can't answer what the real one never would.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from host_bridge.executor.imports import import_jsonschema_lightly

import_jsonschema_lightly()  # seconds, for something that nothing here uses

from jsonschema import Draft4Validator, FormatChecker  # noqa: E402 - OpenAPI 3.0's schemas are draft 4's
from jsonschema.exceptions import best_match  # noqa: E402
from referencing import Registry  # noqa: E402
from referencing.jsonschema import DRAFT4  # noqa: E402

_FILE = Path(__file__).with_name("gitea_openapi.json")
_NAME = "urn:gitea"
_INTEGER = re.compile(r"-?[0-9]+")
_BEFORE_ANY_OPERATION = (401, 403)  # a token that isn't known, or for something else: the description leaves that out


def _closed(part: Any) -> Any:
    """Give a part of the description in which no object has fields that aren't named."""
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(value) for name, value in part.items()}
    return closed | {"additionalProperties": False} if isinstance(closed.get("properties"), dict) else closed


DESCRIPTION: dict[str, Any] = _closed(json.loads(_FILE.read_text(encoding="utf-8")))
_REGISTRY: Registry[Any] = Registry().with_resource(_NAME, DRAFT4.create_resource(DESCRIPTION))

_FORMATS = FormatChecker(formats=())  # jsonschema's own depend on what else is installed


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.datetime.fromisoformat(value).tzinfo is not None


@_FORMATS.checks("uri", raises=ValueError)
def _is_address(value: object) -> bool:
    """The real one gives an empty text where there is no address, though the description doesn't say so."""
    return not isinstance(value, str) or not value or bool(urllib.parse.urlsplit(value).scheme)


class DescriptionError(AssertionError):
    """An answer that the description doesn't allow: the forge that gave it is wrong, not who asked."""


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the description.

    Attributes:
        name: Its `operationId`.
        path: The template, such as `/repos/{owner}/{repo}/pulls`.
        said: All that is said of it.
    """

    name: str
    method: str
    path: str
    said: Mapping[str, Any]

    def values(self, path: str) -> dict[str, str] | None:
        """Give what stands in a path for the parts in braces; None if the path is another's."""
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(DESCRIPTION["servers"][0]["url"] + self.path))
        match = re.fullmatch(pattern, path)
        return match and {name: urllib.parse.unquote(value) for name, value in match.groupdict().items()}

    def refusal(self, values: Mapping[str, str], query: str, content_type: str | None, body: bytes) -> str:
        """Say what is wrong with a request; nothing if all is well."""
        asked = urllib.parse.parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))
        return "; ".join([*self._in_parameters(values, asked), *self._in_body(content_type, body)])

    def check_answer(self, code: int, content: Any) -> None:
        """Check an answer; None is one without a content.

        Raises:
            DescriptionError: The description allows no such answer.
        """
        if code in _BEFORE_ANY_OPERATION and str(code) not in self.said["responses"]:
            return
        if str(code) not in self.said["responses"]:
            raise DescriptionError(f"{self.name} never answers with {code}")
        said = _resolved(self.said["responses"][str(code)])
        if "content" in said:
            schema = said["content"]["application/json"]["schema"]
        elif self.has_content(code):  # what the description calls headers of an error are the fields of its content
            schema = {"$ref": "#/components/schemas/APIError"}
        elif content is None:
            return
        else:
            raise DescriptionError(f"{self.name} answers with nothing besides {code}, and not with {content}")
        if problems := list(_problems(schema, content)):
            raise DescriptionError(f"{self.name} never answers so: {'; '.join(problems)}")

    @property
    def success(self) -> int:
        """The code of its answer with a content; without one where it has none."""
        return min(int(code) for code in self.said["responses"])

    def has_content(self, code: int) -> bool:
        """Whether there is something in an answer with a code."""
        said = _resolved(self.said["responses"].get(str(code), {"headers": {}}))
        return "content" in said or "headers" in said

    @property
    def failures(self) -> list[int]:
        """The codes by which it says no."""
        return [int(code) for code in self.said["responses"] if int(code) >= 400]

    def _in_parameters(self, values: Mapping[str, str], asked: Mapping[str, list[str]]) -> Iterator[str]:
        given = {"path": {name: [value] for name, value in values.items()}, "query": asked}
        known = {(one["in"], one["name"]): one for one in self.said.get("parameters", ())}
        for where, name in [(where, name) for where, names in given.items() for name in names]:
            if (where, name) not in known:
                yield f"there is no parameter {name!r} in the {where}"
        for (where, name), one in known.items():
            texts = given[where].get(name, [])
            if one.get("required") and not texts:
                yield f"the parameter {name!r} is missing"
            if texts:
                value = _value(one["schema"], texts)
                yield from (f"the parameter {name!r}: {problem}" for problem in _problems(one["schema"], value))

    def _in_body(self, content_type: str | None, body: bytes) -> Iterator[str]:
        if "requestBody" not in self.said:
            if body:
                yield "it takes no body"
            return
        kinds = self.said["requestBody"]["content"]
        if content_type not in kinds:
            yield f"the content is {content_type}, not {', '.join(kinds)}"
            return
        try:
            content = json.loads(body)
        except ValueError:
            yield "the body isn't JSON"
            return
        yield from _problems(kinds[content_type]["schema"], content)


OPERATIONS = [
    Operation(said["operationId"], method.upper(), path, said)
    for path, methods in DESCRIPTION["paths"].items()
    for method, said in methods.items()
]


def find_operation(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """Find the operation that a request asks for, and what stands in its path."""
    found = ((one, one.values(path)) for one in OPERATIONS if one.method == method)
    return next(((one, values) for one, values in found if values is not None), None)


def fields(schema: str) -> set[str]:
    """Give the names of a schema's fields."""
    return set(DESCRIPTION["components"]["schemas"][schema]["properties"])


def _value(schema: Mapping[str, Any], texts: list[str]) -> Any:
    """Read a parameter's text as what it should be; what can't be read so stays text, and is refused as that."""
    if schema["type"] == "array":
        return [_value(schema["items"], [text]) for text in texts]
    [text] = texts if len(texts) == 1 else [texts]
    return int(text) if schema["type"] == "integer" and isinstance(text, str) and _INTEGER.fullmatch(text) else text


def _problems(schema: Mapping[str, Any], value: Any) -> Iterator[str]:
    """Say what is wrong with a value, by a schema of the description."""
    placed = {"$ref": _NAME + schema["$ref"]} if "$ref" in schema else _placed(schema)
    validator = Draft4Validator(placed, registry=_REGISTRY, format_checker=_FORMATS)
    if error := best_match(validator.iter_errors(value)):
        yield f"{error.message} (at {error.json_path})"


def _placed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Give a schema whose references lead into the description."""
    return {
        name: {"$ref": _NAME + value["$ref"]} if isinstance(value, dict) and "$ref" in value else value
        for name, value in schema.items()
    }


def _resolved(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference."""
    if "$ref" not in said:
        return said
    found: Any = DESCRIPTION
    for name in said["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found

"""What a notebook declares, read without running it; and what it is given, checked against that."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from host_bridge.executor.documents import UnreadableNotebookError
from host_bridge.executor.parameters import (
    Parameter,
    ParameterError,
    check_parameters,
    describe_parameters,
    find_parameters_cell,
    inspect_parameters,
    parse_pairs,
    parse_parameter,
    split_secrets,
)


def notebook(
    source: Any, *, metadata: dict[str, Any] | None = None, cell_metadata: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": "# Title"},
            {"cell_type": "code", "metadata": {"tags": ["parameters"], **(cell_metadata or {})}, "source": source},
            {"cell_type": "code", "metadata": {}, "source": "other = 1"},
        ],
        "metadata": metadata or {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def declared(source: Any, **options: Any) -> dict[str, Parameter]:
    return inspect_parameters(notebook(source, **options))


# inspection ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "type_text", "default"),
    [
        ("x = 3", "int", 3),
        ("x = -3", "int", -3),
        ("x = 60 * 60", "int", 3600),
        ("x = 5 * 2**20", "int", 5 * 2**20),
        ("x = True", "bool", True),
        ("x = 1.5", "float", 1.5),
        ("x = float('inf')", "float", math.inf),
        ("x = math.inf", "float", math.inf),
        ("x = 'a # b'", "str", "a # b"),
        ("x = 'a=b'", "str", "a=b"),
        ('x = "one" \\\n  "two"', "str", "onetwo"),
        ('x = """a\nb = 1\n"""', "str", "a\nb = 1\n"),
        ("x = None", "", None),
        ("x: int = 3", "int", 3),
        ("x: 'int | None' = None", "int | None", None),
        ("x: Optional[int] = None", "Optional[int]", None),
        ("x: dict[str, list[int]] = {}", "dict[str, list[int]]", {}),
        ("x = [\n  1,  # one\n  2,\n]", "list", [1, 2]),
        ("x = {'a': {'b': [1]},\n     'c': (1,)}", "dict", {"a": {"b": [1]}, "c": (1,)}),
        ("x = (1, 'a')", "tuple", (1, "a")),
        ("x = {1, 2}", "set", {1, 2}),
        ("x = set()", "set", set()),
        ("x = b'ab'", "bytes", b"ab"),
        ("x = datetime.date(2024, 1, 2)", "date", datetime.date(2024, 1, 2)),
        ("x = date.fromisoformat('2024-01-02')", "date", datetime.date(2024, 1, 2)),
        (
            "x = dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc)",
            "datetime",
            datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        ),
        ("x = timedelta(days=2)", "timedelta", datetime.timedelta(days=2)),
        ("x = Decimal('1.50')", "Decimal", decimal.Decimal("1.50")),
        ("x = Path('a') / 'b'", "Path", pathlib.PurePath("a/b")),
        ("x = 3  # type: float", "float", 3),
        ("x = []  # type: List[Tuple[int, str]] what it is", "List[Tuple[int, str]]", []),
        ("x = 3  # type: ignore", "int", 3),
    ],
)
def test_a_declaration_is_read_as_python_means_it(line: str, type_text: str, default: Any) -> None:
    parameter = declared(line)["x"]
    assert (parameter.type, parameter.default, type(parameter.default)) == (type_text, default, type(default))
    assert not parameter.required


@pytest.mark.parametrize(
    "line",
    ["x = compute()", "x = y + 1", "x = open('/etc/passwd').read()", "x = 9**9**9", "x = [0] * 10**9", "x = 1 << 10**9",
     "x = Fraction('1e99999999')", "x = bytearray(10**10)", "x = f'{y}'", "x = __import__('os').getpid()", "x = date(1, 2)"],
)  # fmt: skip
def test_a_default_that_only_running_would_tell_is_given_as_written_and_not_run(line: str) -> None:
    parameter = declared(line)["x"]
    assert parameter.default is None
    assert parameter.default_source == line.removeprefix("x = ")


def test_comments_are_the_help_behind_a_value_before_above_it() -> None:
    found = declared(
        "# Parameters\n"
        "days = 7  # how far back\n"
        "# where to look\n"
        "# first\n"
        "hosts = [\n"
        "    'a',  # the old one\n"
        "]\n"
        "threshold: float = 0.9  # type: float  alert above\n"
        "\n"
        "# a remark of its own\n"
        "\n"
        "plain = 1\n"
    )
    assert {name: parameter.help for name, parameter in found.items()} == {
        "days": "how far back",
        "hosts": "where to look first",
        "threshold": "alert above",
        "plain": "",
    }


def test_an_annotation_alone_is_a_parameter_that_has_to_be_given() -> None:
    found = declared("who: str\nhow: int = 1")
    assert found["who"].required
    assert not found["how"].required
    with pytest.raises(ParameterError, match="'who' \\(str\\) has no default"):
        check_parameters(found, {"how": 2})


def test_several_targets_are_several_parameters_and_the_last_assignment_counts() -> None:
    found = declared("a = b = 3\nc, (d, e) = 1, ('x', 2.0)\na = 4\nf, g = pair")
    assert {name: (parameter.type, parameter.default) for name, parameter in found.items()} == {
        "a": ("int", 4),
        "b": ("int", 3),
        "c": ("int", 1),
        "d": ("str", "x"),
        "e": ("float", 2.0),
        "f": ("", None),
        "g": ("", None),
    }


def test_magics_and_other_statements_are_passed_over() -> None:
    found = declared("%matplotlib inline\nimport datetime\n!ls\nx = 1\nif x:\n    y = 2\nx += 1\nobj.attr = 3\n")
    assert list(found) == ["x"]


def test_the_lines_of_a_file_are_joined() -> None:
    assert declared(["x = [\n", "  1,\n", "]\n"])["x"].default == [1]


def test_no_parameters_cell_is_told_from_an_empty_one() -> None:
    empty = {"cells": [{"cell_type": "code", "metadata": {}, "source": "x = 1"}], "metadata": {}}
    assert find_parameters_cell(empty) is None
    assert inspect_parameters(empty) == {}
    assert find_parameters_cell(notebook("")) == 1
    assert inspect_parameters(notebook("")) == {}


def test_a_cell_that_is_not_python_is_an_error_that_names_the_line() -> None:
    with pytest.raises(ParameterError, match=r"parameters cell isn't Python: .* in line 2"):
        declared("x = 1\ny = = 2")


def test_a_notebook_is_read_from_a_path_too(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook("x = 'ä'")), encoding="utf-8")
    assert inspect_parameters(path)["x"].default == "ä"
    assert inspect_parameters(str(path))["x"].default == "ä"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cells": 1}', b"\xff\xfe", b'{"worksheets": []}'])
def test_what_is_no_notebook_is_a_clear_error(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(content)
    with pytest.raises(UnreadableNotebookError, match=r"a\.ipynb") as caught:
        inspect_parameters(path)
    assert caught.value.path == str(path)
    with pytest.raises(UnreadableNotebookError, match="can't read"):
        inspect_parameters(tmp_path / "missing.ipynb")


def test_inspection_gives_json() -> None:
    found = declared("d = date(2024, 1, 2)\nn = float('nan')\np = Path('x')")
    assert json.loads(json.dumps([parameter.to_dict() for parameter in found.values()]))[0]["default"] == "2024-01-02"


def test_inspection_imports_nothing_heavy() -> None:
    code = (
        "import sys, host_bridge.executor.parameters; "
        "print(sorted({'nbformat', 'papermill', 'nbclient', 'jupyter_client', 'yaml', 'pandas', 'zmq'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# secrets ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "type_text", "help_text"),
    [
        ('x: "Secret" = "abc"', "str", ""),
        ("x: Secret = 'abc'", "str", ""),
        ("x: hermes.Secret[bytes] = b'abc'  # the key", "bytes", "the key"),
        ("x: Annotated[str, Secret] = 'abc'", "Annotated[str, Secret]", ""),
        ("x: 'SecretStr' = 'abc'", "str", ""),
        ("x = 'abc'  # secret", "str", ""),
        ("x = 'abc'  # Secret: for the ticket system", "str", "for the ticket system"),
        ("# secret, from the vault\nx = 'abc'", "str", "from the vault"),
        ("x = 'abc'  # type: str  secret - a token", "str", "a token"),
    ],
)
def test_a_secret_is_declared_in_the_cell_and_its_default_is_not_repeated(
    line: str, type_text: str, help_text: str
) -> None:
    parameter = declared(line)["x"]
    assert parameter.secret
    assert (parameter.type, parameter.help) == (type_text, help_text)
    assert "abc" not in repr(parameter)


def test_the_word_secret_in_a_sentence_declares_nothing() -> None:
    assert not declared("x = 1  # secret ingredient of the score")["x"].secret


def test_a_secret_is_declared_in_metadata_even_without_a_cell() -> None:
    found = declared("x = ''\ny = ''", metadata={"hermes": {"secret_parameters": ["x", "z", 3]}})
    assert [name for name, parameter in found.items() if parameter.secret] == ["x", "z"]
    assert declared("x = ''", cell_metadata={"hermes": {"secret_parameters": ["x"]}})["x"].secret
    assert not declared("x = ''", metadata={"hermes": {"secret_parameters": "x"}})["x"].secret


def test_secrets_are_split_from_what_may_be_written_down() -> None:
    found = declared('a = 1\nt: "Secret" = ""')
    assert split_secrets(found, {"a": 2, "t": "s3cret", "other": 3}) == ({"a": 2, "other": 3}, {"t": "s3cret"})


def test_an_error_about_a_secret_does_not_tell_it() -> None:
    found = declared('t: "Secret" = ""\nb: "Secret[int]" = 0')
    with pytest.raises(ParameterError) as caught:
        check_parameters(found, {"t": 31337, "b": "hunter2"})
    assert "31337" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ParameterError) as caught:
        parse_parameter("hunter2", found["b"])
    assert "hunter2" not in str(caught.value)


# checking --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["x=1; import os; y", "x y", "1x", "", "x.y", "class", "None", "__builtins__", "__import__", "x\n", "ﬁle", "x#", 3],
)
def test_a_name_that_is_no_plain_identifier_is_refused_whatever_is_allowed(name: Any) -> None:
    with pytest.raises(ParameterError, match="can't name a parameter"):
        check_parameters({}, {name: 2}, allow_unknown=True)


def test_an_unknown_name_is_an_error_with_a_suggestion() -> None:
    found = declared("threshold = 0.9")
    with pytest.raises(ParameterError, match="no parameter 'treshold'; did you mean 'threshold'") as caught:
        check_parameters(found, {"treshold": 1.0})
    assert caught.value.name == "treshold"
    assert check_parameters(found, {"treshold": 1.0}, allow_unknown=True) == {"treshold": 1.0}
    with pytest.raises(ParameterError, match="it declares none"):
        check_parameters({}, {"x": 1})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        check_parameters(declared("a = 1\nb: str"), {"a": "x", "c": 1})
    assert all(name in str(caught.value) for name in ("'a' takes int", "'c'", "'b' (str) has no default"))


@pytest.mark.parametrize(
    ("line", "given", "checked"),
    [
        ("x = 1.5", 2, 2.0),
        ("x: float = 1", 2, 2.0),
        ("x: int | None = 1", None, None),
        ("x: Optional[float] = None", 3, 3.0),
        ("x: Union[int, str] = 1", "a", "a"),
        ("x: str | date = ''", "2024-01-02", "2024-01-02"),
        ("x: Literal['a', 'b'] = 'a'", "b", "b"),
        ("x = (1, 2)", [3, 4], (3, 4)),
        ("x: tuple[int, ...] = ()", [1, 2, 3], (1, 2, 3)),
        ("x: set[str] = set()", ["a"], {"a"}),
        ("x: dict[str, float] = {}", {"a": 1}, {"a": 1.0}),
        ("x: list[tuple[int, str]] = []", [[1, "a"]], [(1, "a")]),
        ("x = date(2024, 1, 1)", "2024-05-06", datetime.date(2024, 5, 6)),
        (
            "x: datetime = None",
            "2024-05-06T07:08:09+00:00",
            datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC),
        ),
        ("x = Path('.')", "a/b", pathlib.Path("a/b")),
        ("x = Decimal('1')", "2.50", decimal.Decimal("2.50")),
        ("x = None", object, object),
        ("x: SomeClass = None", {1: 2}, {1: 2}),
        ("x: Annotated[int, 'meters'] = 1", 5, 5),
        ("x: Final[int] = 1", 5, 5),
    ],
)
def test_a_value_is_given_in_its_declared_type(line: str, given: Any, checked: Any) -> None:
    result = check_parameters(declared(line), {"x": given})["x"]
    assert result == checked
    assert type(result) is type(checked)


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("x = 1", 2.5),
        ("x = 1", 2.0),
        ("x = 1", "2"),
        ("x = 1", True),
        ("x = 1", None),
        ("x = True", 1),
        ("x = 1.5", "2"),
        ("x = 1.5", 2**53 + 1),
        ("x = ''", 1),
        ("x = ''", b""),
        ("x = []", "ab"),
        ("x: list[int] = []", [1, "a"]),
        ("x: tuple[int, str] = (1, '')", [1]),
        ("x = {}", []),
        ("x = date(2024, 1, 1)", "yesterday"),
        ("x = date(2024, 1, 1)", datetime.datetime(2024, 1, 1)),
        ("x: Literal[1, 2] = 1", True),
        ("x: int | None = 1", "a"),
        ("x = Decimal(1)", 0.1),
    ],
)
def test_a_value_of_another_type_is_refused(line: str, given: Any) -> None:
    with pytest.raises(ParameterError, match="parameter 'x' takes "):
        check_parameters(declared(line), {"x": given})


def test_numpy_numbers_become_what_is_declared() -> None:
    numpy = pytest.importorskip("numpy")
    found = declared("i = 1\nf = 1.0\nb = True")
    checked = check_parameters(found, {"i": numpy.int64(3), "f": numpy.float32(0.5), "b": numpy.True_})
    assert checked == {"i": 3, "f": 0.5, "b": True}
    assert [type(value) for value in checked.values()] == [int, float, bool]


# text ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "text", "value"),
    [
        ("x = 1", "7", 7),
        ("x = 1.0", "7", 7.0),
        ("x = 1.0", "nan", math.nan),
        ("x = ''", "7", "7"),
        ("x = ''", "None", "None"),
        ("x = True", "no", False),
        ("x = True", "1", True),
        ("x: int | None = 1", "None", None),
        ("x: int | str = 1", "a", "a"),
        ("x: int | str = 1", "12", 12),
        ("x = [1]", "[1, 2]", [1, 2]),
        ("x: list[str] = []", '["a", "b"]', ["a", "b"]),
        ("x = (1,)", "(1, 2)", (1, 2)),
        ("x = {1}", "[1, 2]", {1, 2}),
        ("x = {}", "{'a': 1}", {"a": 1}),
        ("x = date(2024, 1, 1)", "2024-02-03", datetime.date(2024, 2, 3)),
        ("x = timedelta(1)", "90", datetime.timedelta(seconds=90)),
        ("x = Path('')", "/a b", pathlib.Path("/a b")),
        ("x: Literal['fast', 2] = 2", "2", 2),
        ("x = None", "1.5", 1.5),
        ("x = None", "true", True),
        ("x = None", "text", "text"),
    ],
)
def test_text_is_read_as_the_declared_type(line: str, text: str, value: Any) -> None:
    read = parse_parameter(text, declared(line)["x"])
    assert read == value or (read != read and value != value)
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("line", "text"),
    [("x = 1", "1.5"), ("x = 1", ""), ("x = True", "maybe"), ("x = [1]", "1"), ("x = [1]", "a,b"), ("x = {}", "[1]"),
     ("x = date(2024,1,1)", "1/2/2024"), ("x: Literal['a'] = 'a'", "b"), ("x: int | None = 1", "x"), ("x = 1", "9" * 5000)],
)  # fmt: skip
def test_text_of_another_type_is_refused_with_an_example(line: str, text: str) -> None:
    with pytest.raises(ParameterError, match="parameter 'x' takes "):
        parse_parameter(text, declared(line)["x"])


def test_pairs_are_read_by_name_and_the_last_counts() -> None:
    assert parse_pairs(declared("x = ''"), [("x", "1"), ("y", "1"), ("x", "2")]) == {"x": "2", "y": 1}


def test_parameters_are_described_as_strict_json() -> None:
    described = describe_parameters({"d": datetime.date(2024, 1, 2), "n": math.nan, "t": (1, {2})})
    assert json.loads(json.dumps(described, allow_nan=False)) == {"d": "2024-01-02", "n": None, "t": [1, [2]]}

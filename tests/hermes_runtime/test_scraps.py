"""What `hermes.glue` records in a real kernel, read by scrapbook itself and by the host's reader."""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import json
import math
import pathlib
import pickle
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from kernel_process import KernelProcess

from hermes_runtime._scraps import ScrapError, ScrapTypeError, glue
from host_bridge.executor.scraps import read_scraps, scrap_values

MIB = 2**20

VALUES: dict[str, tuple[str, Any]] = {
    "number": ("3", 3),
    "float": ("0.94", 0.94),
    "text": ("'héllo'", "héllo"),
    "numeral": ("'12'", "12"),
    "truth": ("True", True),
    "list": ("[1, 'a', None, [2.5]]", [1, "a", None, [2.5]]),
    "dict": ("{'a': {'b': [1]}}", {"a": {"b": [1]}}),
    "huge": ("10**30", 10**30),
    "none": ("None", None),
    "tuple": ("(1, (2, 'x'))", (1, (2, "x"))),
    "set": ("{3, 1}", {1, 3}),
    "frozenset": ("frozenset({'a'})", frozenset({"a"})),
    "infinity": ("float('-inf')", -math.inf),
    "series": ("[1.0, float('inf')]", [1.0, math.inf]),
    "complex": ("1+2j", 1 + 2j),
    "date": ("datetime.date(2024, 1, 2)", datetime.date(2024, 1, 2)),
    "moment": (
        "datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)",
        datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
    ),
    "time": ("datetime.time(3, 4)", datetime.time(3, 4)),
    "duration": ("datetime.timedelta(days=-1, microseconds=7)", datetime.timedelta(days=-1, microseconds=7)),
    "decimal": ("decimal.Decimal('1.50')", decimal.Decimal("1.50")),
    "fraction": ("fractions.Fraction(1, 3)", fractions.Fraction(1, 3)),
    "uuid": ("uuid.UUID(int=5)", uuid.UUID(int=5)),
    "path": ("pathlib.Path('a/b')", pathlib.PurePath("a/b")),
    "bytes": ("b'1234\\xff'", b"1234\xff"),
    "digits": ("b'\\xd7m\\xf8'", b"\xd7m\xf8"),  # whose base64 is "1234"-like text
    "keys": ("{1: 'a', None: 'b', datetime.date(2024, 1, 2): (1,)}", {1: "a", None: "b", datetime.date(2024, 1, 2): (1,)}),
    "mixed": (
        "{'when': [datetime.date(2024, 1, 2), None], 'set': {1}, 'deep': ({'x': (float('inf'),)},)}",
        {"when": [datetime.date(2024, 1, 2), None], "set": {1}, "deep": ({"x": (math.inf,)},)},
    ),
    "stand_in": ("{'not_json': (1,)}", {"not_json": (1,)}),
    "numpy_scalar": ("numpy.float32(0.5)", 0.5),
    "numpy_int": ("numpy.int64(7)", 7),
    "numpy_bool": ("numpy.bool_(True)", True),
    "numpy_array": ("numpy.arange(6).reshape(2, 3)", [[0, 1, 2], [3, 4, 5]]),
    "numpy_holes": ("numpy.array([1.0, numpy.inf])", [1.0, math.inf]),
    "numpy_wide": ("numpy.longdouble(0.5)", 0.5),
    "numpy_times": ("numpy.array(['2024-01-02'], dtype='datetime64[ns]')", [datetime.datetime(2024, 1, 2)]),
}  # fmt: skip


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    with KernelProcess(tmp_path_factory.mktemp("kernel")) as running:
        ran = running.run("import datetime, decimal, fractions, pathlib, sys, uuid, numpy")
        assert ran.status == "ok"
        yield running


@pytest.fixture(scope="module")
def scrapbook() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a release of 2021 among libraries of today
        return pytest.importorskip("scrapbook")


def notebook(kernel: KernelProcess, *sources: str) -> Any:
    """Run cells and give them as a valid notebook."""
    cells = []
    for source in sources:
        ran = kernel.run(source)
        assert ran.status == "ok", ran.error
        cells.append(ran.cell(source))
    found = nbformat.v4.new_notebook(cells=cells)
    nbformat.validate(found)
    # As a file has it: plain JSON, texts split into lines.
    return nbformat.from_dict(json.loads(nbformat.writes(found)))


def save(found: Any, path: pathlib.Path) -> pathlib.Path:
    nbformat.write(found, path)
    return path


@pytest.fixture(scope="module")
def everything(kernel: KernelProcess) -> Any:
    return notebook(kernel, *(f"hermes.glue({name!r}, {code})" for name, (code, _) in VALUES.items()))


# values ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_given_back_as_it_was(everything: Any, name: str) -> None:
    found, expected = read_scraps(everything)[name].data, VALUES[name][1]
    assert found == expected
    assert type(found) is type(expected)
    assert json.dumps(found, default=repr, sort_keys=False) if name != "keys" else True


def test_nan_is_never_the_text_nan(kernel: KernelProcess) -> None:
    code = (
        "nan = float('nan')\n"
        "hermes.glue('top', nan); hermes.glue('list', [nan, 1]); hermes.glue('numpy', numpy.float32('nan'))\n"
        "hermes.glue('array', numpy.array([nan, 1.0])); hermes.glue('nat', numpy.datetime64('NaT'))\n"
        "hermes.glue('decimal', decimal.Decimal('sNaN'))"
    )
    found = notebook(kernel, code)
    assert '"nan"' not in nbformat.writes(found).replace('"not_json": "nan"', "").replace('"nan"\n', "")
    scraps = read_scraps(found)
    assert all(math.isnan(scraps[name].data) for name in ("top", "numpy", "decimal"))
    assert all(math.isnan(scraps[name].data[0]) and scraps[name].data[1] == 1 for name in ("list", "array"))
    assert scrap_values(found) == {
        "top": None, "list": [None, 1], "numpy": None, "array": [None, 1.0], "nat": None, "decimal": None,
    }  # fmt: skip


def test_scrapbook_reads_every_value(everything: Any, tmp_path: pathlib.Path, scrapbook: Any) -> None:
    scraps = scrapbook.read_notebook(str(save(everything, tmp_path / "a.ipynb"))).scraps
    assert list(scraps) == list(VALUES)
    data = scraps.data_dict
    assert data["number"] == 3
    assert data["numeral"] == "12"
    assert data["tuple"] == [1, [2, "x"]]
    assert data["date"] == "2024-01-02"
    assert data["digits"] == base64.b64encode(b"\xd7m\xf8").decode()
    assert data["none"] == {"not_json": "None"}
    assert data["series"] == [1.0, None]
    assert data["numpy_array"] == [[0, 1, 2], [3, 4, 5]]


def test_many_notebooks_are_one_table_for_scrapbook(
    kernel: KernelProcess, tmp_path: pathlib.Path, scrapbook: Any
) -> None:
    for number in range(3):
        code = f"hermes.glue('score', {number} / 10)\nhermes.glue('host', 'h{number}')\nhermes.glue('n', None)"
        save(notebook(kernel, code), tmp_path / f"run{number}.ipynb")
    book = scrapbook.read_notebooks(str(tmp_path))
    for number, found in enumerate(book.notebooks):
        table = found.scrap_dataframe
        assert list(table["name"]) == ["score", "host", "n"]
        assert list(table["data"])[:2] == [number / 10, f"h{number}"]
        assert set(table["filename"]) == {f"run{number}.ipynb"}


def test_recording_imports_neither_pandas_nor_scrapbook_and_takes_less_than_a_millisecond(
    kernel: KernelProcess,
) -> None:
    ran = kernel.run(
        "import time\n"
        "seconds = []\n"
        "for number in range(300):\n"
        "    began = time.perf_counter()\n"
        "    hermes.glue('metric', {'a': [1, 2.5, number], 'b': 'text'})\n"
        "    seconds.append(time.perf_counter() - began)\n"
        "print(min(seconds), {'pandas', 'scrapbook', 'papermill', 'pyarrow'} & set(sys.modules))"
    )
    quickest, imported = ran.stdout.split(maxsplit=1)
    assert float(quickest) < 0.001
    assert imported.strip() == "set()"


# pandas ----------------------------------------------------------------------------------------------------------------

FRAME = "import pandas\nframe = pandas.DataFrame({'host': ['a', 'b'], 'load': [0.5, float('nan')]})\n"


def test_a_data_frame_is_parquet_for_scrapbook_and_rows_for_us(
    kernel: KernelProcess, tmp_path: pathlib.Path, scrapbook: Any
) -> None:
    found = notebook(kernel, FRAME + "hermes.glue('table', frame)")
    assert scrap_values(found) == {"table": [{"host": "a", "load": 0.5}, {"host": "b", "load": None}]}
    table = scrapbook.read_notebook(str(save(found, tmp_path / "a.ipynb"))).scraps["table"].data
    assert list(table.columns) == ["host", "load"]
    assert table["load"].isna().tolist() == [False, True]


def test_a_data_frame_that_parquet_cannot_hold_is_json(
    kernel: KernelProcess, tmp_path: pathlib.Path, scrapbook: Any
) -> None:
    code = "import pandas\nhermes.glue('table', pandas.DataFrame({'x': [1, 'a', pandas.Timestamp('2024-01-02'), pandas.NaT]}))"
    found = notebook(kernel, code)
    assert read_scraps(found)["table"].encoder == "json"
    assert scrap_values(found)["table"] == [{"x": 1}, {"x": "a"}, {"x": "2024-01-02T00:00:00"}, {"x": None}]
    assert scrapbook.read_notebook(str(save(found, tmp_path / "a.ipynb"))).scraps["table"].data[0] == {"x": 1}
    refused = kernel.run("hermes.glue('t', pandas.DataFrame({'x': [1, 'a', {}]}), 'pandas')")
    assert refused.error.startswith("ScrapTypeError: scrap 't': parquet can't hold this DataFrame")


# display ---------------------------------------------------------------------------------------------------------------


def test_showing_a_value_does_not_lose_it(kernel: KernelProcess, tmp_path: pathlib.Path, scrapbook: Any) -> None:
    found = notebook(
        kernel, FRAME + "hermes.glue('table', frame, display=True)\nhermes.glue('n', [1, 2], display=True)"
    )
    scraps = read_scraps(found)
    assert scraps["n"].data == [1, 2]
    assert scraps["n"].display == {"data": {"text/plain": "[1, 2]"}, "metadata": {}}
    assert set(scraps["table"].display["data"]) == {"text/plain", "text/html"}  # type: ignore[index]
    theirs = scrapbook.read_notebook(str(save(found, tmp_path / "a.ipynb"))).scraps
    assert theirs["n"].data == [1, 2]
    assert theirs["n"].display["data"]["text/plain"] == "[1, 2]"
    assert list(theirs["table"].data["host"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("display", "kinds"),
    [
        ("['text/plain']", {"text/plain"}),
        ("{'exclude': ['text/plain']}", {"text/html"}),
        ("{'include': ['text/html']}", {"text/html"}),
        ("{}", {"text/plain", "text/html"}),
        ("False", None),
    ],
)
def test_what_is_shown_can_be_chosen(kernel: KernelProcess, display: str, kinds: set[str] | None) -> None:
    scrap = read_scraps(notebook(kernel, FRAME + f"hermes.glue('t', frame, display={display})"))["t"]
    assert scrap.encoder == "pandas"
    assert (None if scrap.display is None else set(scrap.display["data"])) == kinds


def test_a_figure_is_recorded_as_it_looks(kernel: KernelProcess, tmp_path: pathlib.Path, scrapbook: Any) -> None:
    code = (
        "from matplotlib.figure import Figure\n"
        "figure = Figure()\nfigure.subplots().plot([1, 2])\n"
        "hermes.glue('chart', figure)\n"
        "from IPython.display import HTML\nhermes.glue('page', HTML('<b>x</b>'))"
    )
    found = notebook(kernel, code)
    scraps = read_scraps(found)
    assert (scraps["chart"].encoder, scraps["chart"].data) == ("display", None)
    image = scraps["chart"].display["data"]["image/png"]  # type: ignore[index]
    assert base64.b64decode(image).startswith(b"\x89PNG")
    assert scraps["page"].display["data"]["text/html"] == "<b>x</b>"  # type: ignore[index]
    assert scrap_values(found) == {}
    assert set(scrapbook.read_notebook(str(save(found, tmp_path / "a.ipynb"))).scraps.display_scraps) == {
        "chart",
        "page",
    }


def test_what_a_tool_gave_is_recorded_as_plain_data(kernel: KernelProcess) -> None:
    code = (
        "from hermes_runtime._results import SearchResult, SearchResults\n"
        "hermes.glue('found', SearchResults([SearchResult(title='T', url='u')], query='q'))"
    )
    assert scrap_values(notebook(kernel, code)) == {"found": [{"title": "T", "url": "u", "description": ""}]}


# mistakes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 257, "\x00", "\u202e"])
def test_a_name_nobody_could_use_is_refused(name: str) -> None:
    with pytest.raises(ScrapError, match="name"):
        glue(name, 1)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ScrapTypeError, match=r"write glue\(name, value\)"):
        glue(3, "value")  # type: ignore[arg-type]


class Thing:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Thing(), r"the value is a .*Thing"),
        ({"a": [1, Thing()]}, r"the value\['a'\]\[1\] is a .*Thing"),
        ({Thing(): 1}, "key of type Thing"),
        ({1: "a", "1": "b"}, "two keys that are both spelled '1'"),
        (range(3), "builtins.range"),
    ],
)
def test_a_value_that_cannot_be_recorded_is_named_with_what_to_do(value: Any, message: str) -> None:
    with pytest.raises(ScrapTypeError, match=message) as caught:
        glue("x", value)
    assert "display=True" in str(caught.value)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), ScrapTypeError)


def test_a_value_within_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ScrapTypeError, match="within itself"):
        glue("x", loop)


@pytest.mark.parametrize(
    ("encoder", "value", "message"),
    [
        ("arrow", 1, "use text, json, pandas or display"),
        ("json", "{", "its text isn't"),
        ("pandas", [1], "takes a DataFrame"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(encoder: str, value: Any, message: str) -> None:
    with pytest.raises(ScrapError, match=message):
        glue("x", value, encoder)


def test_display_takes_no_lone_mime_type() -> None:
    with pytest.raises(ScrapTypeError, match="display takes True, a list"):
        glue("x", 1, display="text/plain")  # type: ignore[arg-type]


def test_encoders_can_be_named_as_in_scrapbook(kernel: KernelProcess) -> None:
    found = notebook(
        kernel, "hermes.glue('a', '[1, 2]', 'json'); hermes.glue('b', 3, 'text'); hermes.glue('c', 4, 'display')"
    )
    assert {name: (scrap.encoder, scrap.data) for name, scrap in read_scraps(found).items()} == {
        "a": ("json", [1, 2]),
        "b": ("text", "3"),
        "c": ("display", None),
    }


def test_outside_a_notebook_it_warns_and_goes_on() -> None:
    with pytest.warns(UserWarning, match="not a notebook's kernel"):
        glue("x", 1)


def test_scrapbooks_own_glue_works_beside_it_and_is_read(kernel: KernelProcess) -> None:
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import scrapbook, pandas\n"
        "scrapbook.glue('a', 1); scrapbook.glue('b', 'x'); scrapbook.glue('c', [1], display=True)\n"
        "scrapbook.glue('d', pandas.DataFrame({'x': [1]}), display=True); scrapbook.glue('e', float('nan'))\n"
    )
    found = notebook(kernel, code)
    scraps = read_scraps(found)
    assert {name: scraps[name].data for name in "abc"} == {"a": 1, "b": "x", "c": [1]}
    assert scraps["c"].display is not None
    assert scraps["d"].display is not None
    assert math.isnan(scraps["e"].data)
    assert scrap_values(found) == {"a": 1, "b": "x", "c": [1], "d": [{"x": 1}], "e": None}

"""Reading scraps from notebooks that anything may have written: nothing in one scrap costs another, and nothing is run."""

from __future__ import annotations

import base64
import io
import json
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.executor import scrap_notes
from host_bridge.executor.documents import UnreadableNotebookError
from host_bridge.executor.scraps import collect_outputs, plain_json, read_scraps, scrap_values


def data_output(name: Any, data: Any, encoder: Any = "json", version: Any = 1, **extra: Any) -> dict[str, Any]:
    payload = {"name": name, "data": data, "encoder": encoder, "version": version, **extra}
    return {
        "output_type": "display_data",
        "data": {f"application/scrapbook.scrap.{encoder}+json": payload},
        "metadata": {"scrapbook": {"name": name, "data": True, "display": False}},
    }


def shown_output(name: str, text: str) -> dict[str, Any]:
    metadata = {"scrapbook": {"name": name, "data": False, "display": True}, "width": 3}
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": metadata}


def notebook(*outputs: Any) -> dict[str, Any]:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ""}]
    cells += [{"cell_type": "code", "id": f"c{n}", "metadata": {}, "outputs": [out]} for n, out in enumerate(outputs)]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def test_data_and_display_are_merged_by_name_in_either_order() -> None:
    found = read_scraps(
        notebook(data_output("a", 1), shown_output("a", "one"), shown_output("b", "two"), data_output("b", 2))
    )
    assert {name: (scrap.data, scrap.encoder) for name, scrap in found.items()} == {"a": (1, "json"), "b": (2, "json")}
    assert found["a"].display == {"data": {"text/plain": "one"}, "metadata": {"width": 3}}
    assert found["b"].display == {"data": {"text/plain": "two"}, "metadata": {"width": 3}}


def test_the_last_data_counts_and_says_where_it_came_from() -> None:
    found = read_scraps(notebook(data_output("a", 1), data_output("b", 5), data_output("a", 2)))
    assert list(found) == ["a", "b"]
    assert found["a"].data == 2
    assert found["a"].metadata == {"cell_index": 3, "cell_id": "c2"}


def test_an_unknown_encoder_costs_nobody_else() -> None:
    found = read_scraps(notebook(data_output("a", "…", "zarr"), data_output("b", 2)))
    assert (found["a"].encoder, found["a"].data) == ("zarr", "…")
    assert scrap_values(notebook(data_output("a", "…", "zarr"), data_output("b", 2))) == {"a": "…", "b": 2}


def test_what_papermill_recorded_before_scrapbook_is_read() -> None:
    output = {
        "output_type": "display_data",
        "data": {"application/papermill.record+json": {"old": 1}},
        "metadata": {},
    }
    shown = {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {"papermill": {"name": "pic"}}}
    found = read_scraps(notebook(output, shown))
    assert found["old"].data == 1
    assert found["pic"].display == {"data": {"text/plain": "x"}, "metadata": {}}


def test_a_later_format_is_read_with_a_remark() -> None:
    found = read_scraps(notebook(data_output("a", 1, version=2)))
    assert found["a"].data == 1
    assert "format 2" in found["a"].metadata["problems"][0]


def test_json_given_as_text_is_read_and_other_text_kept() -> None:
    found = read_scraps(notebook(data_output("a", "[1]"), data_output("b", "words"), data_output("c", "nan")))
    assert (found["a"].data, found["b"].data) == ([1], "words")
    assert math.isnan(found["c"].data)
    assert found["c"].metadata["problems"]


@pytest.mark.parametrize(
    "output",
    [
        None,
        3,
        {},
        {"output_type": "stream", "text": "x"},
        {"data": []},
        {"data": {"application/scrapbook.scrap.json+json": None}},
        {"data": {"application/scrapbook.scrap.json+json": {"name": 3, "data": 1}}},
        {"data": {"application/scrapbook.scrap.json+json": {"data": 1}}},
        {"data": {"application/scrapbook.scrap.json+json": [1, 2]}, "metadata": {"scrapbook": "x"}},
        {"data": {"text/plain": "x"}, "metadata": {"scrapbook": {"display": True}}},
        {"data": {"text/plain": "x"}, "metadata": {"scrapbook": {"display": True, "name": {}}}},
        {"data": {"application/papermill.record+json": 5}, "metadata": []},
    ],
)
def test_what_is_no_scrap_is_passed_over(output: Any) -> None:
    found = read_scraps(notebook(output, data_output("good", 1)))
    assert [name for name in found if name == "good"] == ["good"]
    assert found["good"].data == 1
    json.dumps(scrap_values(notebook(output)), allow_nan=False)


def test_a_payload_without_data_is_kept_with_a_remark() -> None:
    output = {"data": {"application/scrapbook.scrap.json+json": {"name": "a", "value": 1}}, "metadata": {}}
    found = read_scraps(notebook(output))
    assert found["a"].data == {"name": "a", "value": 1}
    assert "no data" in found["a"].metadata["problems"][0]


# notes -----------------------------------------------------------------------------------------------------------------


def noted(data: Any, *notes: Any) -> Any:
    return read_scraps(notebook(data_output("a", data, hermes={"notes": list(notes)})))["a"]


@pytest.mark.parametrize(
    "note",
    [
        [["x"], "tuple"], [[5], "tuple"], [[-1], "nan"], [[True], "nan"], [[], "unheard_of"], [[], "set", 1, 2, 3],
        "tuple", [], None, [[], "date"], [[], "fraction"], [[0], "fraction"], [[], "keys", 5],
        [[], "timedelta", [1]], [[0], "timedelta", [10**20, 0, 0]], [[], ["tuple"]], [{}, "tuple"], [[[]], "nan"],
        [[1], "set"], [[0], "bytes"], [[0], "uuid"], [[1, "k"], "keys", {}],
    ],
)  # fmt: skip
def test_a_note_that_does_not_fit_leaves_the_data_as_it_is(note: Any) -> None:
    scrap = noted(["1e999999999", {"k": [[1]]}], note)
    assert scrap.data == ["1e999999999", {"k": [[1]]}]
    assert scrap.metadata["notes"] == [note]
    assert scrap.plain == ["1e999999999", {"k": [[1]]}]


def test_one_bad_note_does_not_stop_the_others() -> None:
    scrap = noted([[1], "2024-01-02"], [[0], "nonsense"], [[0], "tuple"], [[1], "date"])
    assert scrap.data[0] == (1,)
    assert scrap.data[1].isoformat() == "2024-01-02"
    assert scrap.metadata["notes"] == [[[0], "nonsense"]]


def test_types_of_libraries_are_told_and_not_made() -> None:
    scrap = noted([1, 2], [[], "numpy", ["int8", [2]]])
    assert scrap.data == [1, 2]
    assert scrap.metadata["notes"] == [[[], "numpy", ["int8", [2]]]]


def test_the_documentation_lists_every_kind_of_note() -> None:
    page = (Path(__file__).parents[3] / "docs" / "scraps.md").read_text(encoding="utf-8")
    table = page.partition("| kind |")[2].partition("\n\n")[0]
    documented = {
        word for row in table.splitlines() for word in re.findall(r"`([^`]+)`", row.split("|")[1] if "|" in row else "")
    }
    assert documented == {*scrap_notes._RESTORERS, "numpy", "dataframe"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
any_notes = st.lists(
    st.one_of(
        json_values,
        st.tuples(
            st.lists(st.integers(-1, 3) | st.text(max_size=3), max_size=3),
            st.sampled_from(
                ["none", "nan", "tuple", "set", "frozenset", "complex", "date", "keys", "bytes", "path", "x"]
            ),
            json_values,
        ).map(list),
    ),
    max_size=4,
)


@given(json_values, any_notes, json_values)
@settings(max_examples=400, deadline=None)
def test_whatever_a_kernel_writes_the_reader_reads(data: Any, notes: list[Any], odd: Any) -> None:
    output = data_output("a", data, hermes={"notes": notes})
    strange = {"output_type": "display_data", "data": odd, "metadata": odd}
    found = notebook(output, strange, data_output("good", 1))
    assert read_scraps(found)["good"].data == 1
    json.dumps(scrap_values(found), allow_nan=False)


def test_a_value_nested_without_end_costs_nobody_else() -> None:
    deep: Any = 1
    for _ in range(600):
        deep = [deep]
    found = notebook(data_output("deep", deep, hermes={"notes": [[[], "tuple"]]}), data_output("good", 1))
    values = scrap_values(found)
    assert values["good"] == 1
    json.dumps(values)


# pandas ----------------------------------------------------------------------------------------------------------------


def parquet(**columns: Any) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    buffer = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), buffer)
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_table_becomes_rows() -> None:
    found = notebook(data_output("t", parquet(a=[1, 2], b=["x", None], c=[math.nan, 0.5]), "pandas"))
    assert scrap_values(found) == {"t": [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": None, "c": 0.5}]}
    assert (
        read_scraps(found)["t"].data
        == found["cells"][1]["outputs"][0]["data"]["application/scrapbook.scrap.pandas+json"]["data"]
    )


@pytest.mark.parametrize("data", ["", "not base64!", base64.b64encode(b"PAR1 nonsense PAR1").decode(), None, 5, {}])
def test_a_table_that_cannot_be_read_is_kept_with_a_note(data: Any) -> None:
    values = scrap_values(notebook(data_output("t", data, "pandas"), data_output("good", 1)))
    assert values["good"] == 1
    assert values["t"]["encoder"] == "pandas"
    assert "not decoded" in values["t"]["note"]


def test_without_pyarrow_a_table_is_kept_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    values = scrap_values(notebook(data_output("t", "UEFSMQ==", "pandas")))
    assert values["t"] == {
        "encoder": "pandas",
        "data": "UEFSMQ==",
        "note": "not decoded: it takes pyarrow, which is not installed",
    }


def test_a_table_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = 3_000_000  # a few KiB as parquet
    table = parquet(a=pyarrow.nulls(rows, pyarrow.int64()))
    assert len(table) < 1_000_000
    assert "takes more than 256 MiB" in scrap_values(notebook(data_output("t", table, "pandas")))["t"]["note"]


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path(self.path),))  # type: ignore[attr-defined]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    bomb = Bomb()
    bomb.path = tmp_path / "exploded"  # type: ignore[attr-defined]
    data = base64.b64encode(pickle.dumps(bomb)).decode()
    found = notebook(*(data_output(encoder, data, encoder) for encoder in ("pickle", "pandas", "json", "text")))
    scrap_values(found)
    read_scraps(found)
    assert not (tmp_path / "exploded").exists()


# files -----------------------------------------------------------------------------------------------------------------


def test_a_file_is_collected(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook(data_output("score", 0.5))))
    assert collect_outputs(path) == collect_outputs(str(path)) == {"score": 0.5}
    with pytest.raises(UnreadableNotebookError):
        collect_outputs(tmp_path / "missing.ipynb")


def test_reading_imports_nothing_heavy() -> None:
    code = (
        "import sys, host_bridge.executor.scraps as s; s.scrap_values({'cells': []}); "
        "print(sorted({'nbformat', 'papermill', 'scrapbook', 'pandas', 'pyarrow', 'numpy', 'zmq'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_plain_json_is_strict() -> None:
    value = {"n": math.nan, 1: (b"a", {2}), "t": [math.inf, 1.5, None, True]}
    assert plain_json(value) == {"n": None, "1": ["YQ==", [2]], "t": [None, 1.5, None, True]}

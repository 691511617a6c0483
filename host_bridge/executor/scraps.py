"""Reading scraps: the named values that a notebook recorded with `hermes.glue` or `scrapbook.glue`.

More forgiving than scrapbook's own reader: what was recorded as data and what was recorded as display are merged by name
whatever their order, an encoder nobody knows costs nobody else's data, and neither pandas nor scrapbook is needed. A
notebook's outputs were written by a kernel, so everything in them is taken for what it looks like and nothing is run.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from host_bridge.executor.documents import Document, joined, metadata_of, open_document, outputs
from host_bridge.executor.scrap_notes import restore

_DATA_PREFIX = "application/scrapbook.scrap."
_RECORD_PREFIX = "application/papermill.record"  # papermill before 1.0, which scrapbook still reads
_KNOWN_VERSION = 1
_LOST_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

MAX_TABLE_BYTES = 256 * 2**20
"""How large a table may get when it is decoded for `scrap_values`; parquet packs gigabytes of zeros into a page."""

_ROW_BYTES = 256  # what a row costs as a dict, whatever is in it


@dataclasses.dataclass(frozen=True, slots=True)
class Scrap:
    """One named value.

    Attributes:
        data: The value, as close to the recorded one as its notes allow (tuples, dates, NaN); None for a display only.
            Under the encoder `pandas`, or one not known here, it is what the file holds.
        encoder: `text`, `json`, `pandas`, `display` for a display only, or whatever a third party registered.
        display: How it looks, as `{"data": MIME bundle, "metadata": …}`; None where nothing was to be shown.
        metadata: `cell_index` and, where there is one, `cell_id` of the cell that recorded it last; `notes` that could not be
            applied (among them numpy's types); `problems`, sentences about what was found wrong.
        plain: The data as the file holds it, JSON; None for a display only, and for what JSON has no word for.
    """

    name: str
    data: Any = None
    encoder: str = "display"
    display: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    plain: Any = None


def read_scraps(notebook: Document | str | os.PathLike[str]) -> dict[str, Scrap]:
    """Read all scraps of a notebook, in the order in which their names first appear.

    A name recorded twice has its last data and its last display.

    Raises:
        UnreadableNotebookError: The path names no notebook.
    """
    scraps: dict[str, Scrap] = {}
    for index, cell, output in outputs(open_document(notebook)):
        place = {"cell_index": index}
        if isinstance(cell.get("id"), str):
            place["cell_id"] = cell["id"]
        for found in _scraps_of(output):
            known = scraps.get(found.name)
            if known is not None:
                found = _merged(known, found)
            scraps[found.name] = dataclasses.replace(found, metadata={**place, **found.metadata})
    return scraps


def scrap_values(notebook: Document | str | os.PathLike[str]) -> dict[str, Any]:
    """Give the scraps' data by name, as JSON: what goes into the result of a run.

    Dates are their ISO text, tuples and sets lists, numbers that aren't finite None. A data frame is the list of its rows
    where pyarrow can be imported, otherwise `{"encoder": "pandas", "data": …, "note": …}`. Scraps that are only looked at are
    left out.

    Raises:
        UnreadableNotebookError: The path names no notebook.
    """
    return {name: _value(scrap) for name, scrap in read_scraps(notebook).items() if scrap.encoder != "display"}


def collect_outputs(path: Document | str | os.PathLike[str]) -> dict[str, Any]:
    """Collect what an executed notebook recorded: the values of its scraps by name.

    Raises:
        UnreadableNotebookError: The path names no notebook.
    """
    return scrap_values(path)


def _merged(known: Scrap, found: Scrap) -> Scrap:
    if found.encoder == "display":
        return dataclasses.replace(known, display=found.display, metadata={**found.metadata, **known.metadata})
    return dataclasses.replace(found, display=found.display or known.display)


# one output ------------------------------------------------------------------------------------------------------------


def _scraps_of(output: Mapping[str, Any]) -> Iterator[Scrap]:
    bundle = output.get("data")
    if not isinstance(bundle, Mapping):
        return
    marks = metadata_of(output).get("scrapbook")
    marks = marks if isinstance(marks, Mapping) else {}
    legacy = metadata_of(output).get("papermill")
    shown_name = marks.get("name") if marks.get("display") else None
    if isinstance(legacy, Mapping):
        shown_name = shown_name or legacy.get("name")
    for mime, payload in bundle.items():
        if mime.startswith(_DATA_PREFIX):
            scrap = _data_scrap(mime, payload, marks)
            if scrap is not None:
                yield scrap
        elif mime.startswith(_RECORD_PREFIX) and isinstance(payload, Mapping):
            yield from (Scrap(str(name), data, "json", plain=data) for name, data in payload.items())
    if isinstance(shown_name, str) and shown_name:
        yield Scrap(shown_name, display=_display(output, bundle))


def _display(output: Mapping[str, Any], bundle: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "data": {
            mime: data if _is_json(mime) else joined(data)
            for mime, data in bundle.items()
            if not mime.startswith((_DATA_PREFIX, _RECORD_PREFIX))
        },
        "metadata": {key: value for key, value in metadata_of(output).items() if key not in ("scrapbook", "papermill")},
    }


def _is_json(mime: str) -> bool:
    return mime == "application/json" or mime.endswith("+json")


def _data_scrap(mime: str, payload: Any, marks: Mapping[str, Any]) -> Scrap | None:
    payload = _copied(payload)
    fields = payload if isinstance(payload, dict) else {}
    name = fields.get("name", marks.get("name"))
    if not isinstance(name, str) or not name:
        return None  # nothing to find it by
    encoder = fields.get("encoder")
    if not isinstance(encoder, str):
        encoder = mime.removeprefix(_DATA_PREFIX).removesuffix("+json")
    if "data" not in fields:
        problem = "the payload has no data; it was not written by scrapbook or hermes.glue"
        return Scrap(name, payload, encoder, metadata={"problems": [problem]}, plain=payload)
    problems = []
    version = fields.get("version")
    if version != _KNOWN_VERSION:
        problems.append(f"recorded in format {version!r}; this reader knows {_KNOWN_VERSION}")
    return _decoded(name, encoder, fields["data"], fields.get("hermes"), problems)


def _copied(payload: Any) -> Any:
    """Give a payload in Python's own types: nbformat's dicts are a class of their own."""
    try:
        return json.loads(json.dumps(payload))
    except (TypeError, ValueError, RecursionError):
        return payload


def _decoded(name: str, encoder: str, data: Any, extra: Any, problems: list[str]) -> Scrap:
    notes = extra.get("notes") if isinstance(extra, Mapping) else None
    metadata: dict[str, Any] = {}
    plain = data
    value = data
    if notes is not None:
        value, left = restore(data, notes)
        if left:
            metadata["notes"] = left
        if (
            isinstance(data, Mapping)
            and set(data) == {"not_json"}
            and value is not data
            and not isinstance(value, Mapping)
        ):
            plain = None  # the stand-in for what may not be null at the top
    elif encoder == "json" and isinstance(data, str):
        plain = value = _json_within(data, problems)
    if problems:
        metadata["problems"] = problems
    return Scrap(name, value, encoder, metadata=metadata, plain=plain)


def _json_within(text: str, problems: list[str]) -> Any:
    """Read text recorded as JSON, the way scrapbook does, and undo what Jupyter does to a float that isn't finite."""
    if text in _LOST_FLOATS:
        problems.append(f"recorded as the text {text!r}, which is what scrapbook.glue makes of that number")
        return _LOST_FLOATS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# plain values ----------------------------------------------------------------------------------------------------------


def _value(scrap: Scrap) -> Any:
    try:
        return plain_json(_rows(scrap.plain) if scrap.encoder == "pandas" else scrap.plain)
    except Exception as error:  # a kernel's bytes, read by a library with exceptions of its own
        data = scrap.plain if isinstance(scrap.plain, str) else None  # else it is nested too deep to be passed on
        return {"encoder": scrap.encoder, "data": data, "note": f"not decoded: {error}"}


def plain_json(value: Any) -> Any:
    """Give a value as strict JSON: dates as ISO text, numbers that aren't finite as None, the rest as it prints."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(item) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _rows(data: Any) -> list[Any]:
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError("it takes pyarrow, which is not installed")
    import pyarrow  # type: ignore[import-untyped, unused-ignore]
    import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]

    if int(pyarrow.__version__.partition(".")[0]) < 15:
        # Until 14.0.1 reading a file could unpickle what its author put there (CVE-2023-47248).
        raise ValueError(f"it takes pyarrow 15 or later, not {pyarrow.__version__}")
    file = pyarrow.parquet.ParquetFile(io.BytesIO(base64.b64decode(data, validate=True)))
    rows: list[Any] = []
    size = 0
    for batch in file.iter_batches(batch_size=10_000):
        size += batch.nbytes + len(batch) * _ROW_BYTES
        if size > MAX_TABLE_BYTES:
            raise ValueError(f"the table takes more than {MAX_TABLE_BYTES // 2**20} MiB")
        rows += batch.to_pylist()
    return rows

"""`glue`: record a named value in the notebook, where programs find it afterwards.

What is written is scrapbook's format, version 1, so `scrapbook.read_notebook` reads it; neither scrapbook nor pandas is
imported (that costs a kernel 2 to 10 seconds and 130 MB). It is one `display_data` output per call:

    data      {"application/scrapbook.scrap.<encoder>+json": {"name", "data", "encoder", "version": 1, "hermes"?}, …}
    metadata  {"scrapbook": {"name", "data": true | false, "display": true | false}}

Data and display of one call share one output, since scrapbook's reader lets the later of two outputs replace the earlier.
The payload's `hermes` is there only where JSON can't say what the value was: `{"notes": […]}`, see `_plain`.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hermes_runtime import _plain
from hermes_runtime._errors import HermesError

MAX_NAME_LENGTH = 256

Bundle = dict[str, Any]


class ScrapError(HermesError, ValueError):
    """A scrap that can't be recorded as asked. The message says what to change."""


class ScrapTypeError(ScrapError, TypeError):
    """A value that neither JSON nor the asked encoder can say."""


def glue(
    name: str,
    value: Any,
    encoder: str | None = None,
    display: bool | Sequence[str] | Mapping[str, Any] | None = None,
) -> None:
    """Record a named value in the notebook: a *scrap*.

    It is read from the finished notebook with `hermes-runtime collect`, in the result of a run, or with
    `scrapbook.read_notebook(path).scraps`. Recording a name again replaces its value.

    Args:
        name: What to find it by.
        value: Text, numbers, booleans, None, lists, tuples, sets and dicts of them, dates and times, `Decimal`, `UUID`, paths,
            bytes, numpy's numbers and arrays, pandas' data frames. Where JSON has no word for it (a tuple, a date, NaN) the
            plain form is recorded with a note, and readers that know the note give the original back. A figure or another
            object that is only made to be looked at is recorded as it looks.
        encoder: `"text"`, `"json"`, `"pandas"` (needs pyarrow) or `"display"`; chosen by the value when left out.
        display: True to show the value as well, or the MIME types to show, or `{"include": …, "exclude": …}`.

    Raises:
        ScrapError: The name or the encoder can't be used.
        ScrapTypeError: The value can't be recorded; the message says which part of it and what to do.

    Example:
        >>> hermes.glue("health_score", 0.94)
        >>> hermes.glue("alerts", alerts_frame, display=True)
        >>> hermes.glue("load_chart", figure)
    """
    _check_name(name)
    options = _display_options(name, display)
    payload = _payload(name, value, encoder, shown=options is not None)
    if payload is None and options is None:
        options = {}
    bundle: Bundle = {}
    metadata: Bundle = {}
    if payload is not None:
        bundle[f"application/scrapbook.scrap.{payload['encoder']}+json"] = payload
    if options is not None:
        looks, metadata = _looks(name, value, options)
        bundle.update(looks)
    metadata["scrapbook"] = {"name": name, "data": payload is not None, "display": options is not None}
    _publish(bundle, metadata)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise ScrapTypeError(f"a scrap's name is text, not a {type(name).__name__}: write glue(name, value)")
    if not name.strip() or not name.isprintable():
        raise ScrapError(f"{name!r:.80} can't name a scrap: use printable text that isn't blank")
    if len(name) > MAX_NAME_LENGTH:
        raise ScrapError(f"a scrap's name has at most {MAX_NAME_LENGTH} characters, this one has {len(name)}")


def _payload(name: str, value: Any, encoder: str | None, *, shown: bool) -> Bundle | None:
    """Give the data half of a scrap, None for one that is only looked at."""
    if encoder is None:
        fields = _encode_by_type(name, value, shown=shown)
    elif encoder in _ENCODERS:
        fields = _ENCODERS[encoder](name, value)
    elif encoder == "display":
        fields = None
    else:
        raise ScrapError(
            f"no encoder is called {encoder!r:.80}: use text, json, pandas or display, or leave it out. "
            "For encoders of your own, call scrapbook.glue."
        )
    return None if fields is None else {"name": name, **fields, "version": 1}


def _encode_by_type(name: str, value: Any, *, shown: bool) -> Bundle | None:
    if isinstance(value, str):
        return _encode_text(name, value)
    # Looking for pyarrow costs a millisecond; importing it, most of a second, is left to pandas.
    if _is_frame(value) and importlib.util.find_spec("pyarrow"):
        try:
            return _encode_frame(name, value)
        except ScrapTypeError:
            return _encode_plain(name, value)  # a column of mixed types: parquet has no word for it, JSON has
    try:
        return _encode_plain(name, value)
    except ScrapTypeError:
        if shown or _is_picture(value):
            return None
        raise


def _encode_text(name: str, value: Any) -> Bundle:
    return {"data": value if type(value) is str else str(value), "encoder": "text"}


def _encode_json(name: str, value: Any) -> Bundle:
    if isinstance(value, str):
        # As scrapbook does: text given as JSON is JSON.
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ScrapError(
                f"scrap {name!r} is to be JSON and its text isn't: {error}. Leave the encoder out"
            ) from None
    return _encode_plain(name, value)


def _encode_plain(name: str, value: Any) -> Bundle:
    try:
        data, notes = _plain.to_plain(value)
    except _plain.NotPlainError as error:
        raise ScrapTypeError(_advice(name, value, error)) from None
    # scrapbook looks for JSON within text that it finds under "json"; the date 2024 would come back as a number.
    fields: Bundle = {"data": data, "encoder": "text" if isinstance(data, str) else "json"}
    if notes:
        fields["hermes"] = {"notes": notes}
    return fields


def _advice(name: str, value: Any, error: _plain.NotPlainError) -> str:
    where = "".join(f"[{step!r:.80}]" for step in error.path)
    what = f"scrap {name!r} can't be recorded: the value{where} is {error}"
    if hasattr(value, "__dataclass_fields__") and not error.path:
        return f"{what}. Record dataclasses.asdict(value) instead"
    if hasattr(value, "to_frame"):
        return f"{what}. Record value.to_frame() or value.tolist() instead"
    return f"{what}. Record numbers, text, lists and dicts made from it, or use display=True to record how it looks"


# pandas ----------------------------------------------------------------------------------------------------------------


def _is_frame(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _encode_frame(name: str, value: Any) -> Bundle:
    if not _is_frame(value):
        raise ScrapTypeError(f"scrap {name!r}: the encoder pandas takes a DataFrame, not a {type(value).__qualname__}")
    buffer = io.BytesIO()
    try:
        value.to_parquet(buffer, engine="pyarrow")
    except ImportError as error:
        raise ScrapError(
            f"scrap {name!r}: the encoder pandas needs pyarrow ({error}); install it or use 'json'"
        ) from None
    except Exception as error:  # pyarrow refuses frames by many classes of its own
        raise ScrapTypeError(
            f"scrap {name!r}: parquet can't hold this DataFrame ({error}); use encoder='json' or convert the column"
        ) from error
    return {"data": base64.b64encode(buffer.getvalue()).decode(), "encoder": "pandas"}


_ENCODERS: dict[str, Callable[[str, Any], Bundle]] = {
    "text": _encode_text,
    "json": _encode_json,
    "pandas": _encode_frame,
}


# display ---------------------------------------------------------------------------------------------------------------


def _is_picture(value: Any) -> bool:
    """Whether a value has a look of its own, beyond its `repr`."""
    return hasattr(value, "savefig") or any(mime != "text/plain" for mime in _formatted(value, {})[0])


def _formatted(value: Any, options: Mapping[str, Any]) -> tuple[Bundle, Bundle]:
    from IPython.core.formatters import format_display_data

    bundle, metadata = format_display_data(value, **options)  # type: ignore[no-untyped-call]
    return dict(bundle), dict(metadata)


def _display_options(name: str, display: Any) -> dict[str, Any] | None:
    """Give what to show as the formatter's options, None for nothing."""
    if display is None or display is False:
        return None
    if display is True:
        return {}
    if isinstance(display, Mapping) and set(display) <= {"include", "exclude"}:
        return dict(display)
    if isinstance(display, Sequence) and not isinstance(display, str):
        return {"include": list(display)}
    raise ScrapTypeError(
        f"scrap {name!r}: display takes True, a list of MIME types or {{'include': …, 'exclude': …}}, not {display!r:.200}"
    )


def _looks(name: str, value: Any, options: Mapping[str, Any]) -> tuple[Bundle, Bundle]:
    bundle, metadata = _formatted(value, options)
    if hasattr(value, "savefig") and not any(mime.startswith("image/") for mime in bundle):
        # A figure made without pyplot has no look registered.
        buffer = io.BytesIO()
        value.savefig(buffer, format="png")
        bundle["image/png"] = base64.b64encode(buffer.getvalue()).decode()
    if not bundle:
        raise ScrapTypeError(f"scrap {name!r}: nothing to show of a {type(value).__qualname__} in {options!r:.200}")
    return bundle, metadata


def _publish(bundle: Bundle, metadata: Bundle) -> None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or getattr(shell, "kernel", None) is None:
        warnings.warn("glue() records in a notebook's outputs, and this is not a notebook's kernel", stacklevel=3)
        return
    shell.display_pub.publish(data=bundle, metadata=metadata)

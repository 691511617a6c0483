"""Parameters reach the notebook as the values a person meant."""

import base64
from pathlib import Path
from typing import Any

import click
import pytest

from host_bridge.cli.parameters import gather, guess


def gathered(**given: Any) -> dict[str, Any]:
    return gather(**{"encoded": (), "files": (), "texts": (), "typed": (), "raw": (), **given})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("True", True),
        ("None", None),
        ("true", "true"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("nan", "nan"),
        ("", ""),
        ("2026-11-01", "2026-11-01"),
        ("[1]", "[1]"),
    ],
)
def test_a_typed_value_is_what_it_looks_like(text: str, value: Any) -> None:
    guessed = guess(text)

    assert (guessed, type(guessed)) == (value, type(value))


def test_a_raw_value_stays_text_and_the_nearer_option_wins(tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text("a: 1\nb: 1\nc: 1\nd: 1\n")

    assert gathered(
        encoded=(base64.b64encode(b"a: 0\ne: 0").decode(),),
        files=(str(tmp_path / "given.yaml"),),
        texts=("{b: [2], c: 2}",),
        typed=(("c", "3"),),
        raw=(("d", "4"),),
    ) == {"a": 1, "b": [2], "c": 3, "d": "4", "e": 0}


def test_yaml_dates_stay_text() -> None:
    assert gathered(texts=("since: 2026-11-01",)) == {"since": "2026-11-01"}


@pytest.mark.parametrize("text", ["- 1", "{1: 2}", "a: [", "just text", "!!python/object/apply:os.getcwd []"])
def test_what_is_no_mapping_of_names_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.UsageError):
        gathered(texts=(text,))


def test_a_missing_file_is_an_error_that_names_it() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        gathered(files=("nowhere.yaml",))


def test_broken_base64_is_a_usage_error() -> None:
    with pytest.raises(click.UsageError, match="base64"):
        gathered(encoded=("!",))

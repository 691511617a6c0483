"""Parameters from YAML files and texts."""

from __future__ import annotations

import pathlib

import pytest

from host_bridge.executor.parameters import ParameterError, load_parameters


def write(folder: pathlib.Path, name: str, text: str) -> pathlib.Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_later_wins_and_values_win_over_texts_over_files(tmp_path: pathlib.Path) -> None:
    first = write(tmp_path, "a.yaml", "a: 1\nb: 1\nc: 1\nd: 1\n")
    second = write(tmp_path, "b.yaml", "b: 2\nc: 2\nd: 2\n")
    merged = load_parameters(files=[first, str(second)], texts=["{c: 3, d: 3}"], values=[{"d": 4}])
    assert merged == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_dates_stay_the_text_that_was_written() -> None:
    assert load_parameters(texts=["day: 2024-01-02\nat: 2024-01-02T03:04:05Z"]) == {
        "day": "2024-01-02",
        "at": "2024-01-02T03:04:05Z",
    }


def test_json_is_yaml_and_nothing_is_no_parameters() -> None:
    assert load_parameters(texts=['{"a": [1, null, true]}', "", "# nothing"]) == {"a": [1, None, True]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "isn't YAML"),
        ("- 1", "holds a list"),
        ("just text", "holds a str"),
        ("1: 2", "put the name in quotes"),
        ("on: 1", "put the name in quotes"),
        ("a: 1\na: 2", "given twice"),
        ("a: !!python/object/apply:os.system [true]", "isn't YAML"),
    ],
)
def test_what_is_no_mapping_of_names_is_an_error_that_names_the_file(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    path = write(tmp_path, "p.yaml", text)
    with pytest.raises(ParameterError, match=message) as caught:
        load_parameters(files=[path])
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ParameterError, match=r"can't read the parameters file .*missing\.yaml: No such file"):
        load_parameters(files=[tmp_path / "missing.yaml"])
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4\xff")
    with pytest.raises(ParameterError, match="can't read the parameters file"):
        load_parameters(files=[tmp_path / "latin.yaml"])


def test_remote_files_are_read_by_whom_the_caller_says() -> None:
    assert load_parameters(files=["s3://bucket/p.yaml"], read=lambda path: f"where: {path!r}") == {
        "where": "s3://bucket/p.yaml"
    }

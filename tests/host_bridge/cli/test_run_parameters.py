"""Parameters reach the notebook as the values a person meant, and a secret by a way that nobody sees."""

import base64
from pathlib import Path
from typing import Any

import click
import pytest

from host_bridge.cli.run_parameters import gather
from host_bridge.executor.parameters import Parameter, ParameterError

DECLARED = {
    "days": Parameter("days", type="int", default=7, default_source="7"),
    "name": Parameter("name", type="str", default="", default_source='""'),
    "token": Parameter("token", type="str", secret=True),
}


def test_a_value_is_read_as_its_declared_type() -> None:
    assert gather(DECLARED, typed=(("days", "7"), ("name", "7"))) == {"days": 7, "name": "7"}


def test_the_nearer_option_wins(tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text("a: 1\nb: 1\nc: 1\nd: 1\ne: 1\n")

    assert gather(
        {},
        files=(str(tmp_path / "given.yaml"),),
        texts=("{b: [2], c: 2}",),
        encoded=(base64.b64encode(b"c: 3\nd: 3").decode(),),
        typed=(("d", "4"), ("e", "4")),
        raw=(("e", "5"),),
    ) == {"a": 1, "b": [2], "c": 3, "d": 4, "e": "5"}


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_TOKEN", "sesame")

    assert gather(DECLARED, secrets=(("token", "THE_TOKEN"),)) == {"token": "sesame"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"secrets": (("name", "HOME"),)}, "declare 'name' as secret"),
        ({"secrets": (("token", "NO_SUCH_VARIABLE"),)}, "NO_SUCH_VARIABLE is not set"),
        ({"encoded": ("!",)}, "not base64"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(click.UsageError, match=problem):
        gather(DECLARED, **given)


@pytest.mark.parametrize("given", [{"texts": ("- 1",)}, {"files": ("nowhere.yaml",)}, {"typed": (("days", "soon"),)}])
def test_what_is_no_parameter_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        gather(DECLARED, **given)

"""A notebook asks for a kernel; whoever runs it decides."""

from __future__ import annotations

import json
from pathlib import Path

import jupyter_core.paths
import papermill
import pytest
from notebook_runs import code, save

from host_bridge.cli.boundary import ExitCode, exit_code
from host_bridge.errors import KernelChoiceError, KernelStartError
from host_bridge.executor.choice import choose_kernel, language_of

PYTHON3 = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Besides what the environment has: `hermes-other`, one of ours, and `julia`, none of ours."""
    ours = {"kernel_provisioner": {"provisioner_name": "hermes-provisioner"}}
    for name, metadata in (("hermes-other", ours), ("julia", {})):
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        spec = {"argv": ["x"], "display_name": name, "language": "python", "metadata": metadata}
        (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))


@pytest.mark.parametrize(
    "metadata", [{}, {"kernelspec": {"name": "hermes"}}, {"kernelspec": []}, {"kernelspec": {"name": 3}}]
)
def test_without_a_wish_it_is_ours_and_nothing_to_say(metadata: dict[str, object]) -> None:
    choice = choose_kernel(metadata)
    assert (choice.name, choice.warning) == ("hermes", "")


def test_a_notebook_from_outside_does_not_choose_its_kernel_and_that_is_said(installed: None) -> None:
    choice = choose_kernel(PYTHON3)
    assert choice.name == "hermes"
    assert "'python3'" in choice.warning


def test_a_notebook_may_choose_among_ours(installed: None) -> None:
    choice = choose_kernel({"kernelspec": {"name": "hermes-other"}})
    assert (choice.name, choice.warning) == ("hermes-other", "")


def test_who_runs_it_may_choose_any(installed: None) -> None:
    assert choose_kernel({"kernelspec": {"name": "hermes"}}, "python3").name == "python3"


@pytest.mark.parametrize("name", ["no-such-kernel", "../../etc", ""])
def test_a_kernel_nobody_has_installed_is_replaced_or_refused(installed: None, name: str) -> None:
    assert choose_kernel({"kernelspec": {"name": name}}).name == "hermes"
    if name:
        with pytest.raises(KernelChoiceError, match=r"installed: .*hermes"):
            choose_kernel({}, name)


def test_a_misspelt_kernel_is_told_with_the_one_that_may_be_meant(installed: None) -> None:
    with pytest.raises(KernelChoiceError, match="did you mean 'hermes-other'"):
        choose_kernel({}, "hermes-othr")


def test_without_our_own_kernel_no_other_name_helps(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jupyter_core.paths, "ENV_JUPYTER_PATH", [])
    monkeypatch.setattr(jupyter_core.paths, "SYSTEM_JUPYTER_PATH", [])
    with pytest.raises(KernelStartError, match="kernel install") as raised:
        choose_kernel({}, "hermes")
    assert exit_code(raised.value) == ExitCode.UNUSABLE


def test_papermill_hears_of_an_unknown_kernel_before_it_writes_anything(installed: None, tmp_path: Path) -> None:
    path = save(tmp_path / "in.ipynb", code("days = 7", "parameters"), **PYTHON3)
    for parameters in ({}, {"days": 1}):
        with pytest.raises(KernelChoiceError, match=r"installed: .*hermes"):
            papermill.execute_notebook(
                path, tmp_path / "out.ipynb", parameters, engine_name="hermes", kernel_name="nowhere"
            )
    assert not (tmp_path / "out.ipynb").exists()


def test_a_notebook_in_another_language_is_not_run_as_python(installed: None) -> None:
    with pytest.raises(KernelChoiceError, match="'r'"):
        choose_kernel({"kernelspec": {"name": "ir", "language": "R"}})
    assert choose_kernel({"kernelspec": {"name": "ir", "language": "R"}}, "python3").name == "python3"


def test_the_language_is_where_notebooks_say_it() -> None:
    assert language_of({"language_info": {"name": "Python"}}) == "python"
    assert language_of(PYTHON3) == "python"
    assert language_of({"language_info": "python", "kernelspec": None}) == ""

"""`hermes-runtime kernel`: the kernel that is removed is the one that was named."""

import json
from pathlib import Path

import jupyter_core.paths
import pytest

from host_bridge.cli import main
from host_bridge.provisioning.kernelspecs import kernel_json


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's kernels `hermes` and `mine`, and nobody else's: these tests remove things."""
    monkeypatch.setattr(jupyter_core.paths, "ENV_JUPYTER_PATH", [str(tmp_path / "environment")])
    monkeypatch.setattr(jupyter_core.paths, "SYSTEM_JUPYTER_PATH", [])
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "environment"))
    for name in ("hermes", "mine"):
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(kernel_json("python", name)))
    return tmp_path / "kernels"


def left(kernels: Path) -> list[str]:
    return sorted(folder.name for folder in kernels.iterdir())


@pytest.mark.parametrize("arguments", [["mine"], ["--name", "mine"], ["mine", "--name", "mine"]])
def test_a_kernel_is_removed_by_its_name_however_it_is_given(kernels: Path, arguments: list[str]) -> None:
    assert main(["kernel", "remove", *arguments]) == 0
    assert left(kernels) == ["hermes"]


def test_without_a_name_it_is_the_one_that_install_writes_without_one(kernels: Path) -> None:
    assert main(["kernel", "remove"]) == 0
    assert left(kernels) == ["mine"]


def test_of_two_different_names_none_is_removed(kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernel", "remove", "mine", "--name", "hermes"]) == 2
    assert "two kernels are named, 'mine' and --name 'hermes'" in capsys.readouterr().err
    assert left(kernels) == ["hermes", "mine"]


def test_a_name_that_nothing_has_is_bad_input(kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernel", "remove", "nowhere"]) == 2
    assert "no kernel spec is called 'nowhere'" in capsys.readouterr().err

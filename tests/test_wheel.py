"""What is installed from a built wheel is all there is in the checkout, also what isn't Python."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("hermes_protocol", "hermes_runtime", "host_bridge")
BUILD_SECONDS = 100


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the wheel as pip builds it, by name."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling isn't here to build it with; run: pip install -e '.[test]'")
    folder = tmp_path_factory.mktemp("wheel")
    # Without what the index would give anew: the build is tried, not the network.
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(CHECKOUT)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_it_has_all_of_a_package_and_nothing_else(wheel: dict[str, bytes], package: str) -> None:
    packed = {name.removeprefix(f"{package}/"): data for name, data in wheel.items() if name.startswith(f"{package}/")}
    assert packed == content(CHECKOUT / package)
    assert packed["py.typed"] == b""


def test_policies_to_start_from_and_profiles_are_there(wheel: dict[str, bytes]) -> None:
    for name in ("starting/user", "starting/project", "starting/system", "profiles/workspace"):
        assert wheel[f"host_bridge/policy/{name}.toml"]


def test_the_kernel_is_registered_with_its_logos(wheel: dict[str, bytes]) -> None:
    place = ".data/data/share/jupyter/kernels/hermes/"
    packed = {name.partition(place)[2]: data for name, data in wheel.items() if place in name}
    assert packed == content(CHECKOUT / "kernelspec" / "hermes")
    assert {"kernel.json", "logo-svg.svg", "logo-32x32.png", "logo-64x64.png"} <= packed.keys()


def test_it_holds_the_packages_and_the_kernel_and_no_tests(wheel: dict[str, bytes]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.startswith("hermes_runtime-")} == set(PACKAGES)

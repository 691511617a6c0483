from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import jupyter_core.paths
import pytest
from jupyter_client.kernelspec import KernelSpecManager

from host_bridge.errors import ConfigurationError
from host_bridge.provisioning import kernelspecs
from host_bridge.provisioning.kernelspecs import LOGOS, check_python, find_logos, install, is_ours, kernel_json, remove

CHECKOUT = Path(__file__).resolve().parents[3] / "kernelspec" / "hermes"


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's data folder of its own, and nobody else's: these tests remove things."""
    monkeypatch.setattr(jupyter_core.paths, "ENV_JUPYTER_PATH", [str(tmp_path / "environment")])
    monkeypatch.setattr(jupyter_core.paths, "SYSTEM_JUPYTER_PATH", [])
    folder = tmp_path / "data"
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """An interpreter with nothing installed."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    return tmp_path / "bare" / "bin" / "python"


def read(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "kernel.json").read_text())
    return content


def test_installing_the_package_alone_has_registered_the_kernel() -> None:
    folder = Path(sys.prefix, "share", "jupyter", "kernels", "hermes")
    assert KernelSpecManager(kernel_dirs=[str(folder.parent)]).find_kernel_specs()["hermes"] == str(folder)
    assert is_ours(folder)
    assert read(folder) == read(CHECKOUT)


def test_the_checkouts_spec_is_what_install_writes_but_for_the_interpreter() -> None:
    assert read(CHECKOUT) == kernel_json("python", "Hermes")
    for logo in LOGOS:
        assert (CHECKOUT / logo).is_file()


def test_a_users_kernel_is_listed_with_its_interpreter_and_its_logos(data: Path) -> None:
    folder = install(user=True, name="mine")
    assert folder == data / "kernels" / "mine"
    spec = KernelSpecManager().get_kernel_spec("mine")
    assert spec.argv[0] == sys.executable
    assert spec.display_name == "Hermes (mine)"
    assert {path.name for path in folder.iterdir()} == {"kernel.json", *LOGOS}
    assert install(name="mine", display_name="Once more") == folder
    assert KernelSpecManager().get_kernel_spec("mine").display_name == "Once more"


def test_a_prefix_and_this_environment_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install(prefix=tmp_path / "p") == tmp_path / "p" / "share" / "jupyter" / "kernels" / "hermes"
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    assert install(sys_prefix=True) == tmp_path / "env" / "share" / "jupyter" / "kernels" / "hermes"
    assert is_ours(tmp_path / "env" / "share" / "jupyter" / "kernels" / "hermes")


def test_choosing_two_places_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="one of --user, --sys-prefix and --prefix"):
        install(user=True, sys_prefix=True)


@pytest.mark.parametrize("name", ["", "a b", "../x", "ä", "a/b"])
def test_a_name_jupyter_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be called"):
        install(name=name)


def test_somebody_elses_kernel_is_neither_replaced_nor_removed_unless_forced(data: Path) -> None:
    other = data / "kernels" / "hermes"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text('{"argv": ["x"], "display_name": "x", "language": "x"}')
    with pytest.raises(ConfigurationError, match="--force"):
        install()
    with pytest.raises(ConfigurationError, match="--force"):
        remove()
    assert read(other)["argv"] == ["x"]
    assert is_ours(install(force=True))


def test_what_was_installed_can_be_removed_once(data: Path) -> None:
    folder = install(name="mine")
    assert remove("mine") == folder
    assert not folder.exists()
    with pytest.raises(ConfigurationError, match="jupyter kernelspec list"):
        remove("mine")


def test_the_users_own_is_removed_before_an_environments(data: Path, tmp_path: Path) -> None:
    own = install(name="mine")
    environments = tmp_path / "environment" / "kernels" / "mine"
    environments.parent.mkdir(parents=True)
    shutil.copytree(own, environments)
    assert remove("mine") == own
    assert remove("mine") == environments


def test_a_name_that_is_no_name_removes_nothing(data: Path) -> None:
    install(name="mine")
    with pytest.raises(ConfigurationError, match="no kernel spec"):
        remove("../kernels/mine")
    assert (data / "kernels" / "mine").exists()


def test_a_kernel_spec_that_is_a_link_is_removed_without_what_it_leads_to(data: Path) -> None:
    (data / "kernels").mkdir(parents=True)
    (data / "kernels" / "linked").symlink_to(CHECKOUT)
    remove("linked")
    assert (CHECKOUT / "kernel.json").exists()
    assert not (data / "kernels" / "linked").is_symlink()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="can't be written"):
        install(prefix=tmp_path / "file")


def test_an_interpreter_without_the_packages_is_refused_with_the_commands_that_help(bare_python: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        install(python=bare_python)
    text = str(caught.value)
    assert caught.value.path == str(bare_python)
    for module in ("ipykernel", "zmq", "msgpack", "msgspec", "hermes_protocol", "hermes_runtime"):
        assert f"{module}: ModuleNotFoundError" in text
    assert re.search(
        rf"{re.escape(str(bare_python))} -m pip install 'ipykernel[^']*' 'pyzmq[^']*' 'msgpack[^']*' ", text
    )
    assert text.endswith(f"{bare_python} -m pip install --no-deps {CHECKOUT.parents[1]}")


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        (None, "hermes-runtime==1.2"),
        ('{"url": "file:///a%20b", "dir_info": {"editable": true}}', "/a b"),
        ('{"url": "https://h/x.whl", "archive_info": {}}', "https://h/x.whl"),
        ('{"url": "https://h/r", "vcs_info": {"vcs": "git", "commit_id": "abc"}}', "git+https://h/r@abc"),
    ],
)
def test_the_packages_are_had_from_where_this_one_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str | None, source: str
) -> None:
    folder = tmp_path / "hermes_runtime-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: hermes-runtime\nVersion: 1.2\n")
    if origin is not None:
        (folder / "direct_url.json").write_text(origin)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert kernelspecs._our_source() == source


def test_only_what_is_missing_is_asked_for(bare_python: Path) -> None:
    library = next((bare_python.parent.parent / "lib").glob("python*/site-packages"))
    # Broken is as good as missing, and says so.
    (library / "msgspec.py").write_text("raise RuntimeError('no such processor')")
    for module in ("ipykernel", "zmq", "msgpack"):
        (library / f"{module}.py").write_text("")
    for package in ("hermes_protocol", "hermes_runtime"):
        (library / package).symlink_to(CHECKOUT.parents[1] / package)
    with pytest.raises(ConfigurationError, match="no such processor") as caught:
        check_python(bare_python)
    command = str(caught.value).partition("Run: ")[2]
    assert "msgspec" in command
    assert "pyzmq" not in command


def test_another_protocol_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernelspecs, "PROTOCOL_VERSIONS", (98, 99))
    with pytest.raises(ConfigurationError, match="speaks protocol 2, this one speaks 99"):
        check_python(sys.executable)


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ("exit 3", "is not a Python that works: it said nothing"),
        ("echo broken >&2; exit 1", "broken"),
        ("echo not json", "is not a Python that works"),
        ("sleep 60", "did not answer within 0.5 s"),
    ],
)
def test_what_is_no_interpreter_is_refused_in_time(
    tmp_path: Path, script: str, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernelspecs, "CHECK_SECONDS", 0.5)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec 2>&1\n{script}\n" if "2" not in script else f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with pytest.raises(ConfigurationError, match=re.escape(match)):
        check_python(python)


@pytest.mark.parametrize("python", ["/no/such/python", "no-such-python", "/etc"])
def test_a_path_that_leads_nowhere_is_refused(python: str) -> None:
    with pytest.raises(ConfigurationError, match="not an interpreter"):
        check_python(python)


def test_an_interpreter_is_named_by_its_absolute_path_and_links_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(sys.prefix)
    monkeypatch.chdir(tmp_path)
    # The file a virtual environment's interpreter leads to belongs to no virtual environment.
    assert check_python("link/bin/python3") == str(tmp_path / "link" / "bin" / "python3")


def test_jupyters_own_command_installs_from_a_checkout(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "jupyter_client.kernelspecapp",
        "install",
        str(CHECKOUT),
        "--prefix",
        str(tmp_path),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert is_ours(tmp_path / "share" / "jupyter" / "kernels" / "hermes")


def test_logos_come_with_the_package_or_lie_in_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert [logo.name for logo in find_logos()] == list(LOGOS)

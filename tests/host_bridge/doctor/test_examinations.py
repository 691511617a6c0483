"""The doctor finds what is wrong, says what to do, and fails only where the main job would."""

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from host_bridge.config import HostConfig, SandboxSettings
from host_bridge.doctor import Finding, Status, confinement, kernels, packages, places, round_trip, tools
from host_bridge.doctor import examine as examine_all
from host_bridge.errors import SandboxError
from host_bridge.sandbox import probing


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HERMES_RUNTIME_CONFIG", raising=False)
    return tmp_path


def test_installed_requirements_are_met() -> None:
    found = by_subject(packages.examine())

    assert found["packages"].status is Status.OK
    assert found["packages"].facts["versions"]["hermes-runtime"]


@pytest.mark.parametrize(
    ("requirement", "problem"),
    [
        ("no-such-distribution>=1", "no-such-distribution is missing"),
        ("pyzmq>=9999", "doesn't fit >=9999"),
        ("pyzmq>=1", ""),
        ("no-such-distribution; extra == 'test'", ""),
        ("no-such-distribution; python_version < '3'", ""),
    ],
)
def test_an_unmet_requirement_is_named(requirement: str, problem: str) -> None:
    assert problem in packages.unmet(requirement)
    assert bool(packages.unmet(requirement)) == bool(problem)


def test_what_stands_between_a_cell_and_the_machine_is_said_plainly() -> None:
    found = confinement.in_force(HostConfig(sandbox=SandboxSettings(backend="none")))

    assert found.status is Status.WARNING
    assert "past the bridge" in found.text


def test_no_way_to_confine_is_a_failure_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_settings: SandboxSettings) -> None:
        raise SandboxError("the kernel can't be confined here")

    monkeypatch.setattr(confinement, "decide_confinement", refuse)

    found = confinement.in_force(HostConfig())

    assert found.status is Status.FAILURE
    assert "apt-get install bubblewrap" in found.remedy


def test_the_means_of_confinement_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "landlock_version", lambda: 0)
    monkeypatch.setattr(confinement, "SECCOMP_ACTIONS", "/nowhere")
    found = by_subject(confinement.examine())

    assert set(found) == {"bubblewrap", "landlock", "seccomp", "confinement", "limits"}
    assert (found["landlock"].status, found["seccomp"].status) == (Status.WARNING, Status.WARNING)


def test_where_commands_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**settings: object) -> Finding:
        return tools.commands(HostConfig(tools={"terminal": settings}))

    assert (found().status, found().facts["confinement"]) == (Status.OK, "host")
    assert found(confinement="elsewhere").status is Status.FAILURE
    monkeypatch.setattr(tools, "probe", lambda backend: probing.Finding(works=True))
    confined = found(confinement="workspace", network_for=["git ls-remote *"])
    assert (confined.status, confined.facts["confinement"]) == (Status.OK, "workspace")
    assert "full for 1 patterns" in confined.text
    monkeypatch.setattr(tools, "probe", lambda backend: probing.Finding(works=False, problem="it is gone"))
    assert found(confinement="workspace").status is Status.FAILURE
    assert "bubblewrap" in found(confinement="workspace").remedy


def test_another_system_is_named_instead_of_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement.sys, "platform", "darwin")
    subjects = by_subject(confinement.examine())
    assert "bubblewrap" not in subjects
    assert subjects["confinement"].status is Status.FAILURE
    assert "has not been run on a Mac" in subjects["confinement"].text


def test_places_are_usable_in_a_fresh_home(home: Path) -> None:
    found = by_subject(places.examine())

    assert {subject: one.text for subject, one in found.items() if one.status is Status.FAILURE} == {}
    assert not (home / "xdg_state_home").exists(), "looking must not make anything"
    assert found["run directory"].facts["socket_path_bytes"] <= 107


def test_a_broken_configuration_is_a_failure_that_names_the_key(home: Path) -> None:
    path = home / "xdg_config_home/hermes-runtime/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("[session]\nprofil = 'full'\n")

    found = by_subject(places.examine())["configuration"]

    assert found.status is Status.FAILURE
    assert found.facts["key"] == "session.profil"


def test_a_folder_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    found = places.writable("audit folder", Path("/proc/audit"))

    assert found.status is Status.FAILURE
    assert "/proc" in found.text


def test_a_full_disk_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ENOUGH_BYTES", 2**80)

    assert places.disk(tmp_path).status is Status.FAILURE


def test_no_place_for_sockets_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise places.SessionError("no place for the kernel's private folder")

    monkeypatch.setattr(places, "RunDirectory", refuse)

    assert places.run_directory().status is Status.FAILURE


@pytest.fixture
def kernel_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place of kernel specs that Jupyter looks at first."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    folder = tmp_path / "kernels/hermes"
    folder.mkdir(parents=True)
    return folder


def write_spec(folder: Path, python: str, provisioner: str = "hermes-provisioner") -> None:
    spec = {
        "argv": [python, "-m", "hermes_runtime.kernel", "-f", "{connection_file}"],
        "display_name": "Hermes",
        "language": "python",
        "metadata": {"kernel_provisioner": {"provisioner_name": provisioner}},
    }
    (folder / "kernel.json").write_text(json.dumps(spec))


def test_the_kernel_spec_in_force_is_found(kernel_folder: Path) -> None:
    write_spec(kernel_folder, "python")

    found = by_subject(kernels.examine())

    assert found["kernel spec"].facts["path"] == str(kernel_folder)
    assert found["kernel's python"].facts["path"] == sys.executable
    assert found["provisioner"].status is Status.OK


def test_a_kernel_whose_interpreter_is_gone_is_a_failure(kernel_folder: Path) -> None:
    write_spec(kernel_folder, "/nowhere/bin/python")

    assert by_subject(kernels.examine())["kernel's python"].status is Status.FAILURE


def test_a_kernel_whose_interpreter_lacks_the_kernel_side_is_a_failure(kernel_folder: Path, tmp_path: Path) -> None:
    bare = script(tmp_path / "python", f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    write_spec(kernel_folder, str(bare))

    found = by_subject(kernels.examine())["kernel's python"]

    assert found.status is Status.FAILURE
    assert "No module named" in found.text


def test_a_provisioner_that_is_not_installed_is_a_failure(kernel_folder: Path) -> None:
    write_spec(kernel_folder, "python", provisioner="some-other-provisioner")

    assert by_subject(kernels.examine())["provisioner"].status is Status.FAILURE


def test_no_kernel_spec_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "KERNEL_NAME", "no-such-kernel")

    found = by_subject(kernels.examine())

    assert found["kernel spec"].status is Status.FAILURE
    assert "kernel install" in found["kernel spec"].remedy


def test_a_round_trip_without_a_kernel_spec_is_no_defect_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "KERNEL_NAME", "no-such-kernel")

    found = by_subject(round_trip.examine())

    assert (found["round trip"].status, len(found)) == (Status.FAILURE, 1)
    assert "no-such-kernel" in found["round trip"].text
    assert found["round trip"].remedy.startswith("mend what fails above")


@pytest.mark.parametrize(("starts", "expected"), [(False, {"other Jupyter"}), (True, set())])
def test_another_jupyter_that_sees_the_kernel_but_cannot_start_it_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: bool, expected: set[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    answer = json.dumps({"sees": True, "starts": starts})
    python = script(elsewhere / "python", f"#!/bin/sh\necho '{answer}'\n")
    script(elsewhere / "jupyter", f"#!{python}\n")
    monkeypatch.setenv("PATH", f"{elsewhere}{os.pathsep}/usr/bin{os.pathsep}/bin")

    found = [finding for finding in kernels.others() if str(elsewhere) in finding.text]

    assert {finding.subject for finding in found} == expected
    assert all(finding.status is Status.WARNING for finding in found)


def test_a_missing_program_is_a_note_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", mkdtemp())

    found = tools.program("rg", "search_files is slower without it", "install ripgrep")

    assert (found.status, found.remedy) == (Status.WARNING, "install ripgrep")


def test_an_examination_that_breaks_is_a_failure_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("host_bridge.doctor._EXAMINATIONS", (("first", broken), ("second", confinement.examine)))

    found = by_subject(examine_all())

    assert found["first"].status is Status.FAILURE
    assert "confinement" in found

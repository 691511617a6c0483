from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermes_protocol.confinement import CONFINEMENT_VARIABLE
from hermes_protocol.ticket import TICKET_FILE_VARIABLE, TICKET_VARIABLE
from host_bridge.config import CONFIG_VARIABLE, PRINCIPAL_VARIABLE, EnvironmentSettings
from host_bridge.provisioning.environment import command_environment, kernel_environment, session_environment

HOST = {
    "PATH": "/usr/bin",
    "HOME": "/home/u",
    "LC_TIME": "de_DE.UTF-8",
    "LC_SECRET_KEY": "no",
    "OPENAI_API_KEY": "no",
    "GITHUB_TOKEN": "no",
    "DATABASE_URL": "no",
    "SSH_AUTH_SOCK": "no",
    "JUPYTER_TOKEN": "no",
    "KUBECONFIG": "/home/u/.kube/config",
    "http_proxy": "http://user:no@proxy",
}


def test_commands_get_what_is_harmless_and_nothing_that_opens_a_door() -> None:
    assert command_environment(HOST, EnvironmentSettings()) == {
        "PATH": "/usr/bin",
        "HOME": "/home/u",
        "LC_TIME": "de_DE.UTF-8",
    }


def test_commands_get_what_the_user_names_or_sets() -> None:
    settings = EnvironmentSettings(pass_names=("KUBECONFIG", "ABSENT"), set={"GITHUB_TOKEN": "given", "PATH": "/bin"})
    chosen = command_environment(HOST, settings)
    assert chosen["KUBECONFIG"] == "/home/u/.kube/config"
    assert chosen["GITHUB_TOKEN"] == "given"
    assert chosen["PATH"] == "/bin"
    assert "ABSENT" not in chosen


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "GITHUB_TOKEN", "DATABASE_URL", "http_proxy", "SSH_AUTH_SOCK"])
def test_a_session_process_gets_no_secret(name: str) -> None:
    assert name not in session_environment(HOST)


def test_a_session_process_finds_modules_from_another_folder() -> None:
    found = session_environment({"PYTHONPATH": f"lib{os.pathsep}/abs"})["PYTHONPATH"]
    assert found.split(os.pathsep) == [str(Path.cwd() / "lib"), "/abs"]


def test_a_kernel_keeps_its_variables_and_loses_the_hosts_of_ours() -> None:
    ours = {TICKET_FILE_VARIABLE: "/old", TICKET_VARIABLE: "old", CONFIG_VARIABLE: "c", PRINCIPAL_VARIABLE: "p"}
    expected = {"A": "1", TICKET_FILE_VARIABLE: "/run/t", CONFINEMENT_VARIABLE: "none"}
    assert kernel_environment({"A": "1", **ours}, "/run/t") == expected

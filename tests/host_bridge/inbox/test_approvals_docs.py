"""The page's requests do what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from inboxes import asked

from host_bridge.config import HostConfig
from host_bridge.inbox.folder import FOLDER, Inbox
from host_bridge.inbox.owner import this_process
from host_bridge.inbox.views import as_data

PROGRAM = str(Path(sys.executable).with_name("hermes-runtime"))
PAGE = (Path(__file__).parents[3] / "docs" / "approvals.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_the_settings_shown_are_settings() -> None:
    [text] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert msgspec.convert(tomllib.loads(text), type=HostConfig).approvals.headless == "park"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_requests_shown_work(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    arguments = [PROGRAM, "approvals", "serve", "--token-file", "token", "--json"]
    server = subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        told = ""
        while not told.endswith("}\n"):
            told += server.stdout.readline()
        question = Inbox(tmp_path / "hermes-runtime" / FOLDER).ask(asked(), this_process(), seconds=60)
        variables = {**environment, "API": json.loads(told)["address"], "ID": question.id}
        listed, one, events, answered = [
            subprocess.run(
                command,
                shell=True,
                cwd=tmp_path,
                env=variables,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            ).stdout
            for command in COMMANDS
        ]
    finally:
        server.terminate()
        server.communicate(timeout=30)

    assert [found["id"] for found in json.loads(listed)["questions"]] == [question.id]
    assert json.loads(one)["shown"] == asked().shown
    assert re.match(r"retry: 2000\n\nid: \S+\nevent: snapshot\ndata: \{", events)
    assert json.loads(answered)["outcome"]["by"] == "ada (HTTP)"


def test_the_fields_of_a_question_are_all_told(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "approvals")
    fields = as_data(inbox, inbox.ask(asked(), this_process(), seconds=60))

    assert [name for name in fields if f"`{name}`" not in PAGE] == []

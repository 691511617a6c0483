"""A notebook uses a secret of the host's, with a real kernel, and the value is nowhere a notebook's reader could look."""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from kernel_machine import Machine
from nbformat.v4 import new_code_cell, new_notebook

PROGRAM = str(Path(sys.executable).parent / "hermes-runtime")
VALUE = "glpat-t0p/secret+value-4711"
CONFIGURATION = """
[secrets.GITEA_TOKEN]
source = "file:{token}"
tools = ["terminal(python3 report.py *)", "terminal(env)", "http_request(url:{url}**)"]
hosts = ["{url}"]

[tools.http_request]
allow_private = ["{place}"]

[secrets.UNREADABLE]
source = "file:{token}.missing"
tools = ["terminal(env)"]
"""
POLICY = """
version = 1
[taint]
brake = false
[rules]
allow = ["terminal(python3 report.py *)", "terminal(env)", "terminal(cat *)", "http_request(url:{url}**)"]
"""
REPORT = """
import base64, os, sys, urllib.request
token = os.environ["GITEA_TOKEN"]
basic = base64.b64encode(b"alice:" + token.encode()).decode()
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "token " + token, "X-Basic": basic})
print(urllib.request.urlopen(request, timeout=20).read().decode())
print("sent", token, "and", basic, file=sys.stderr)
"""


@pytest.fixture
def server():
    """Shows what it was sent, as badly written servers do."""
    seen: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(dict(self.headers))
            body = json.dumps(dict(self.headers)).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}/", seen
        served.shutdown()
        thread.join()


def test_a_notebook_uses_a_secret_and_its_value_is_nowhere(machine: Machine, server, tmp_path: Path) -> None:
    url, seen = server
    token = tmp_path / "token"
    token.write_text(f"{VALUE}\n")
    token.chmod(0o600)
    machine.configure(CONFIGURATION.format(token=token, url=url, place=url.split("/")[2]))
    policy = tmp_path / "rules.policy.toml"
    policy.write_text(POLICY.format(url=url))
    (machine.workspace / "report.py").write_text(REPORT)
    cells = [
        new_code_cell('token = hermes.secret("GITEA_TOKEN")', metadata={"tags": ["parameters"]}),
        new_code_cell(f"told = hermes.terminal('python3 report.py {url}', secrets=[token]).check()\ntold, token"),
        new_code_cell("hermes.terminal('env', secrets={'GH_TOKEN': token}).stdout"),
        new_code_cell(
            f"answer = hermes.http_request('GET', {url!r}, headers={{'Authorization': 'bearer ' + token}}).check()\n"
            "answer, answer.json()"
        ),
        new_code_cell(
            # All of the kernel's own memory, by a pattern that is not the value itself.
            "import os, pickle, re\n"
            "pattern, found, looked = re.compile(rb'glpat-t[0]p/secret'), 0, 0\n"
            "with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:\n"
            "    for line in maps:\n"
            "        start, end = (int(part, 16) for part in line.split()[0].split('-'))\n"
            "        if line.split()[1].startswith('rw') and '[v' not in line:\n"
            "            memory.seek(start)\n"
            "            data = memory.read(end - start)\n"
            "            looked, found = looked + len(data), found + len(pattern.findall(data))\n"
            "print(looked > 10**7, found, pickle.loads(pickle.dumps(token)), hermes.status().secrets)"
        ),
        new_code_cell(
            "for call in (lambda: hermes.terminal('cat report.py', secrets=[token]),\n"
            "             lambda: hermes.terminal('env', secrets=[hermes.secret('OTHER')]),\n"
            "             lambda: hermes.terminal('env', secrets=[hermes.secret('UNREADABLE')])):\n"
            "    try:\n"
            "        call()\n"
            "    except hermes.HermesError as error:\n"
            "        print(type(error).__name__, error)"
        ),
    ]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "hermes", "display_name": "Hermes"}})
    nbformat.write(notebook, machine.workspace / "in.ipynb")

    arguments = ["run", "in.ipynb", "out.ipynb", "--json", "--no-progress", "--policy", str(policy)]
    done = subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert seen[0]["Authorization"] == f"token {VALUE}"
    saved = (machine.workspace / "out.ipynb").read_text()
    assert "token [secret GITEA_TOKEN]" in saved
    assert seen[1]["authorization"] == f"bearer {VALUE}"
    assert "bearer [secret GITEA_TOKEN]" in saved
    assert "GH_TOKEN=[secret GITEA_TOKEN]" in saved
    assert "True 0 [secret GITEA_TOKEN] ('GITEA_TOKEN', 'UNREADABLE')" in saved
    assert "none of its rules means it" in saved
    assert "there are: GITEA_TOKEN, UNREADABLE" in saved
    assert "can't be read: No such file" in saved
    basic = base64.b64encode(f"alice:{VALUE}".encode()).decode()
    places = {"stdout": done.stdout, "stderr": done.stderr, "notebook": saved}
    for folder in (machine.workspace, machine.audit.parent):
        places |= {str(path): path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()}
    assert any(path.endswith(".jsonl") for path in places)
    for place, text in places.items():
        assert VALUE not in text, place
        assert basic[8:30] not in text, place


def test_inspect_shows_the_handle(machine: Machine) -> None:
    cells = [new_code_cell('token = hermes.secret("GITEA_TOKEN")', metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=cells), machine.workspace / "in.ipynb")
    done = subprocess.run([PROGRAM, "inspect", "in.ipynb"], capture_output=True, text=True, timeout=60, check=False)
    assert 'hermes.secret("GITEA_TOKEN")' in done.stdout

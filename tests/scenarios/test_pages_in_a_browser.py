"""The pages as somebody sees them: in a real browser, which must find nothing in them to run, to fetch or to refuse."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_machine import Machine
from notebook_runs import Runner, save

from host_bridge.cli import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
LIGHT, DARK = "1", "0"  # Blink's own numbers
WAIT_SECONDS = 60.0  # on a busy machine; two or three are usual

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
)

pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium here: what a browser makes of the pages is not tried")

EVIL = "</style></pre><script>document.title = 'taken'</script><img src=https://evil.example onerror=alert(1)>\u202e"


def browse(machine: Machine, page: Path, scheme: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [BROWSER, "--headless", *FLAGS, "--disable-component-update", "--disable-sync", "--disable-quic"]
    command += [f"--user-data-dir={machine.temporary / 'browser'}", "--enable-logging=stderr", "--hide-scrollbars"]
    command += [f"--blink-settings=preferredColorScheme={scheme}", "--window-size=900,900", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=True)


@pytest.fixture
def browser(machine: Machine) -> None:
    """A browser that draws a page of a word. Containers keep some from starting, which says nothing of our pages."""
    page = machine.temporary / "word.html"
    page.write_text("<!doctype html><title>word</title>")
    try:
        seen = browse(machine, page, LIGHT, "--dump-dom")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{BROWSER} can't draw anything here: {error}")
    assert "<title>word</title>" in seen.stdout


@pytest.mark.usefixtures("browser")
def test_pages_of_a_run_and_a_difference_are_drawn_in_light_and_dark_and_do_nothing(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = Runner(machine.workspace, "hermes")
    runner.run(
        f"text = {EVIL!r}\nhermes.write_file('evil.txt', text)\nprint(text)",
        f"try:\n    hermes.read_file('/etc/' + {EVIL!r})\nexcept Exception as error:\n    print(error)",
        "raise ValueError(text)",
    )
    other = save(machine.workspace / "other.ipynb", f"print({EVIL!r})", "x = 1")
    assert main(["runs", "show", "last", "--html", "run.html"]) == 0
    assert main(["diff", "out.ipynb", str(other), "--html", "diff.html"]) == 1
    capsys.readouterr()
    drawn = {scheme: machine.temporary / f"{scheme}.png" for scheme in (LIGHT, DARK)}
    for name, title in (("diff.html", "out.ipynb → other.ipynb"), ("run.html", "in.ipynb: failed")):
        seen = browse(machine, machine.workspace / name, LIGHT, "--dump-dom", f"--screenshot={drawn[LIGHT]}")
        assert f"<title>{title}</title>" in seen.stdout
        assert "onerror=alert(1)&gt;\\u{202e}" in seen.stdout
        assert "CONSOLE" not in seen.stderr  # what a content security policy refused would be told there
    browse(machine, machine.workspace / "run.html", DARK, f"--screenshot={drawn[DARK]}")
    light, dark = (drawn[scheme].read_bytes() for scheme in (LIGHT, DARK))
    assert light.startswith(b"\x89PNG")
    assert light != dark
    machine.wait_until_clean()

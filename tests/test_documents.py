"""The documents, where what they say can be compared with something."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from host_bridge.policy.model import CommandResource
from host_bridge.tools import background, patch, read_file, search_files, web_extract, web_search, write_file
from host_bridge.tools.command_sandbox import runs_on_host, shares_network
from host_bridge.tools.terminal_settings import TerminalSettings

CHECKOUT = Path(__file__).parents[1]
DECISIONS = CHECKOUT / "docs" / "decisions"
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "benchmarks").glob("*.md")])


@pytest.mark.parametrize(
    ("tool", "settings"),
    [
        ("terminal", TerminalSettings),
        ("process", background.ProcessSettings),
        ("read_file", read_file.Settings),
        ("write_file", write_file.Settings),
        ("patch", patch.Settings),
        ("search_files", search_files.Settings),
        ("web_search", web_search.WebSearchSettings),
        ("web_extract", web_extract.WebExtractSettings),
    ],
)
def test_every_setting_of_a_tool_is_written_down(tool: str, settings: type[msgspec.Struct]) -> None:
    text = (CHECKOUT / "docs" / "tools.md").read_text()
    row = re.search(rf"^\| `{tool}` \| (.*) \|$", text[text.index("| table | keys |") :], re.MULTILINE)
    assert row is not None
    written = set(re.findall(r"`([a-z_]+)`", row[1]))
    assert {field.encode_name for field in msgspec.structs.fields(settings)} <= written


def test_the_example_of_confined_commands_is_one() -> None:
    text = (CHECKOUT / "docs" / "security.md").read_text()
    example = re.search(r"^```toml\n(\[tools\.terminal\].*?)^```", text, re.DOTALL | re.MULTILINE)
    assert example is not None
    settings = msgspec.convert(tomllib.loads(example[1])["tools"]["terminal"], TerminalSettings)
    fetch, status, push = (
        (CommandResource(text=line, argv=tuple(line.split()), folder="/w"),)
        for line in ("git fetch origin", "systemctl status ssh", "git push")
    )
    assert [shares_network(settings, command) for command in (fetch, status, push)] == [True, False, False]
    assert [runs_on_host(settings, command) for command in (fetch, status, push)] == [False, True, False]


def test_every_decision_has_a_number_of_its_own() -> None:
    pages = sorted(DECISIONS.glob("0*.md"))
    numbers = [page.name[:4] for page in pages]
    assert len(numbers) == len(set(numbers)), f"two pages have one number: {numbers}"
    listed = (DECISIONS / "README.md").read_text()
    for page in pages:
        number, title = int(page.name[:4]), page.read_text().partition("\n")[0].partition(". ")[2]
        assert page.read_text().startswith(f"# {number}. {title}"), page.name
        assert f"{number}. [{title}]({page.name})" in listed, page.name


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set(), [CHECKOUT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached and page.exists():
            reached.add(page)
            links = re.findall(r"\]\((?!https?:)([^)\s#]+\.md)[^)]*\)", page.read_text())
            ahead += [(page.parent / link).resolve() for link in links]
    assert [str(page.relative_to(CHECKOUT)) for page in PAGES if page not in reached] == []


def test_the_map_of_the_rooms_names_every_package_and_nothing_that_is_not_there() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text()
    rooms = {
        f"{path.parent.relative_to(CHECKOUT)}/"
        for side in ("hermes_runtime", "host_bridge")
        for path in (CHECKOUT / side).glob("*/__init__.py")
    }
    named = set(re.findall(r"`((?:host_bridge|hermes_runtime|hermes_protocol)/[a-z_/.]*)", text))
    assert rooms - named == set()
    assert [name for name in named if not (CHECKOUT / name).exists()] == []


def test_links_to_headings_lead_to_them() -> None:
    broken = [f"{page.relative_to(CHECKOUT)}: {link}" for page, link in _links() if not _has_heading(page, link)]
    assert broken == []


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)\s]*#[^)\s]+)\)", page.read_text()):
            yield page, link


def _has_heading(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    headings = re.findall(r"^#+ (.*)$", (page.parent / name if name else page).read_text(), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

"""What a test in a policy file is about is what a real call of these words would be about."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.errors import CallError, InvalidCallError
from host_bridge.policy.commands import resources
from host_bridge.policy.model import Access, PathResource, TextResource, UrlResource
from host_bridge.policy.paths import resolve
from host_bridge.policy.subjects import WORKSPACE, path_resource, resources_of


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ws").resolve()
    (folder / "a" / "b").mkdir(parents=True)
    for name in ("x", "a/x", "a/b/x", ".env"):
        (folder / name).write_text("")
    return folder


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from(["a", "b", "x", "..", ".", "", ".env"]), min_size=1, max_size=6),
    st.sampled_from(["", "./", "/", "{ws}/"]),
    st.booleans(),
)
def test_a_path_is_read_as_the_file_system_would(workspace, parts, prefix, writing):
    text = prefix.replace("{ws}", str(workspace)) + "/".join(parts)
    access = Access.WRITE if writing else Access.READ
    try:
        with resolve(str(workspace), text, must_exist=not writing) as resolved:
            real = resolved.resource(access)
    except CallError:
        return
    assert path_resource(text, access, str(workspace)) == real


def test_every_kind_of_subject_is_read():
    assert resources_of("terminal", "ls; rm -rf x") == resources("ls; rm -rf x", WORKSPACE)
    assert resources_of("write_file", "../x") == (PathResource("/x", None, Access.WRITE),)
    assert resources_of("read_file", ".") == (PathResource(WORKSPACE, "", Access.READ),)
    assert resources_of("read_file", "/workspace2/x") == (PathResource("/workspace2/x", None, Access.READ),)
    assert resources_of("web_extract", "HTTPS://Docs.Python.org./a/../b") == (
        UrlResource("https", "docs.python.org", 443, "/b"),
    )
    assert resources_of("web_search", "x") == (TextResource("x"),)
    assert resources_of("mine", "./x") == (PathResource(f"{WORKSPACE}/x", "x", Access.READ),)
    assert resources_of("mine", "http://x.org") == (UrlResource("http", "x.org", 80, "/"),)
    assert resources_of("mine", "x") == (TextResource("x"),)
    assert resources_of("mine", None) == ()


@pytest.mark.parametrize("url", ["http://2130706433/", "http://a@b/", "file:///etc/passwd", "http://x\r\ny/"])
def test_a_url_that_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(InvalidCallError):
        resources_of("web_extract", url)

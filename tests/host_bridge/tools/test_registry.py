"""Tools are described as somebody would write their calls."""

from __future__ import annotations

from host_bridge.cli.tools import signature
from host_bridge.tools.registry import load_tools


def test_types_are_spelled_in_one_way() -> None:
    spelled = {one.name: signature(one) for one in load_tools().descriptions()}
    assert spelled["web_extract"] == "web_extract(urls: tuple[str, ...], char_limit: int | None = None)"
    assert spelled["write_file"] == "write_file(path: str, content: bytes, create_parents: bool = True)"
    assert "timeout: float | None = None" in spelled["process"]
    assert "Optional" not in "".join(spelled.values())

"""A validation as JUnit XML, which every CI shows."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from host_bridge.executor.validation import Validation

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(validation: Validation, name: str) -> bytes:
    """Give a test suite named after the notebook: a case for what can be said without running, and one for each cell."""
    known = {f"cell {cell.index}: {cell.message}" for cell in validation.cells}
    others = [problem for problem in validation.problems if problem not in known]
    cases = [_case(name, "notebook", "failed" if others else "passed", "\n".join(others), 0.0)]
    for cell in validation.cells:
        text = "\n\n".join(filter(None, (cell.message, cell.difference)))
        cases.append(_case(name, f"Cell {cell.index} ({cell.id})", cell.outcome, text, cell.duration_seconds))
    suite = ElementTree.Element(
        "testsuite",
        name=_clean(name),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors="0",
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=f"{sum(cell.duration_seconds for cell in validation.cells):.3f}",
    )
    suite.extend(cases)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _case(suite: str, name: str, outcome: str, text: str, seconds: float) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_clean(suite), name=_clean(name), time=f"{seconds:.3f}")
    if outcome != "passed":
        lines = text.splitlines() or [outcome]
        told = ElementTree.SubElement(case, "failure" if outcome == "failed" else "skipped", message=_clean(lines[0]))
        told.text = _clean(text)
    return case


def _clean(text: str) -> str:
    """Without the characters that XML has no word for."""
    return _NOT_XML.sub("�", text)

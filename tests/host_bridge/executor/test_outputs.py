"""Outputs find their cells, within limits, whatever a kernel sends."""

from __future__ import annotations

import io
import logging
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from host_bridge.executor.limits import OutputLimits
from host_bridge.executor.logging_outputs import OutputLog
from host_bridge.executor.messages import KernelMessage
from host_bridge.executor.outputs import ERRORS_PER_CELL, NotebookOutputs
from host_bridge.executor.redaction import Redactor


class Desk:
    """A notebook of two cells, and a kernel that is only its messages."""

    def __init__(self, *, secrets: dict[str, str] | None = None, log: OutputLog | None = None, **limits: int) -> None:
        self.notebook = new_notebook(cells=[new_code_cell("first"), new_code_cell("second")])
        self.changed: list[int] = []
        self.outputs = NotebookOutputs(
            self.notebook,
            None,
            limits=OutputLimits(**limits),
            redactor=Redactor(secrets or {}),
            on_change=self.changed.append,
            log=log,
        )
        self.outputs.expect("request-0", 0)

    def hear(self, kind: str, content: dict[str, Any], *, cell: int = 0, size: int | None = None, **more: Any) -> None:
        self.outputs.hear(
            KernelMessage(
                msg_type=kind,
                parent_id=f"request-{cell}",
                header={"msg_type": kind, "msg_id": "m", **more.pop("header", {})},
                parent_header={"msg_id": f"request-{cell}"},
                metadata={},
                content=content,
                buffers=[],
                size=len(str(content)) if size is None else size,
                **more,
            )
        )

    def print(self, text: str, name: str = "stdout", **more: Any) -> None:
        self.hear("stream", {"name": name, "text": text}, **more)

    def show(
        self, data: dict[str, Any], *, display_id: str | None = None, kind: str = "display_data", **more: Any
    ) -> None:
        transient = {"display_id": display_id} if display_id else {}
        self.hear(kind, {"data": data, "metadata": {}, "transient": transient}, **more)

    def settled(self, index: int = 0) -> list[NotebookNode]:
        self.outputs.settle(index)
        nbformat.validate(self.notebook)
        outputs: list[NotebookNode] = self.notebook.cells[index].outputs
        return outputs


def texts(outputs: list[NotebookNode]) -> list[str]:
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


def test_printed_text_becomes_one_output_per_stretch() -> None:
    desk = Desk()
    for text, name in (("a", "stdout"), ("b", "stdout"), ("c", "stderr"), ("d", "stdout")):
        desk.print(text, name)
    desk.show({"text/plain": "e"})
    desk.print("f")
    assert texts(desk.settled()) == ["ab", "c", "d", "e", "f"]


def test_a_million_small_prints_are_one_output() -> None:
    desk = Desk()
    for _ in range(100_000):
        desk.print("0123456789")
    (output,) = desk.settled()
    assert len(output.text) == 1_000_000


def test_output_that_comes_late_goes_to_the_cell_it_came_from() -> None:
    desk = Desk()
    desk.print("early ")
    desk.settled()
    desk.outputs.expect("request-1", 1)
    desk.print("late", cell=0)
    desk.print("mine", cell=1)
    assert texts(desk.settled(1)) == ["mine"]
    assert texts(desk.settled(0)) == ["early late"]
    assert {0, 1} <= set(desk.changed)


def test_output_of_an_unknown_request_is_nobodys() -> None:
    desk = Desk()
    desk.print("x", cell=7)
    assert desk.settled() == []


def test_a_display_is_updated_wherever_it_is() -> None:
    desk = Desk()
    desk.show({"text/plain": "1 %"}, display_id="bar")
    desk.settled()
    desk.changed.clear()
    desk.outputs.expect("request-1", 1)
    desk.show({"text/plain": "100 %"}, display_id="bar", kind="update_display_data", cell=1)
    assert texts(desk.settled(0)) == ["100 %"]
    assert 0 in desk.changed, "the other cell would not have been saved"


@pytest.mark.parametrize("wait", [True, False])
def test_clear_output_clears(wait: bool) -> None:
    desk = Desk()
    desk.print("old")
    desk.hear("clear_output", {"wait": wait})
    assert texts(desk.settled()) == (["old"] if wait else [])
    desk.print("new")
    assert texts(desk.settled()) == ["new"]


def test_a_display_after_clear_output_takes_the_place_of_what_was_printed() -> None:
    desk = Desk()
    desk.print("old")
    desk.hear("clear_output", {"wait": True})
    desk.show({"text/plain": "new"})
    assert texts(desk.settled()) == ["new"]


# limits


def test_a_flood_is_cut_and_says_exactly_what_is_missing() -> None:
    desk = Desk(stream_bytes=1_000)
    for _ in range(30):
        desk.print("é" * 50)  # 100 bytes
    kept, note = desk.settled()
    assert len(kept.text.encode()) == 1_000
    assert "2,000 bytes in 20 pieces were left out" in note.data["text/plain"]


def test_the_note_counts_on_while_the_flood_goes_on() -> None:
    desk = Desk(stream_bytes=10)
    desk.print("x" * 20)
    assert "10 bytes in 1 pieces" in texts(desk.settled())[1]
    desk.print("x" * 20)
    outputs = desk.settled()
    assert len(outputs) == 2
    assert "30 bytes in 2 pieces" in texts(outputs)[1]


def test_an_image_too_large_is_left_out_and_said() -> None:
    desk = Desk(rich_bytes=1_000)
    desk.show({"image/png": "x" * 5_000})
    desk.show({"text/plain": "small"})
    outputs = desk.settled()
    assert texts(outputs)[0] == "small"
    assert "in 1 pieces were left out" in texts(outputs)[1]


def test_a_message_that_was_not_even_read_is_counted_with_its_size() -> None:
    desk = Desk()
    desk.hear("display_data", {}, size=10**9, is_cut=True)
    assert "1,000,000,000 bytes" in texts(desk.settled())[0]


def test_a_stream_cut_before_it_was_read_counts_what_was_sent() -> None:
    desk = Desk(stream_bytes=100)
    desk.print("x" * 500, size=10_000, is_cut=True)
    kept, note = desk.settled()
    assert len(kept.text) == 100
    assert "9,900 bytes" in note.data["text/plain"]


def test_a_cell_has_a_bounded_number_of_outputs() -> None:
    desk = Desk(outputs=10)
    for number in range(50):
        desk.show({"text/plain": str(number)})
        desk.print("a", "stdout")
        desk.print("b", "stderr")
    outputs = desk.settled()
    assert len(outputs) == 11
    assert "were left out" in texts(outputs)[-1]


def test_the_notebook_as_a_whole_is_bounded() -> None:
    desk = Desk(total_bytes=1_000)
    desk.print("x" * 900)
    desk.settled()
    desk.outputs.expect("request-1", 1)
    desk.print("y" * 900, cell=1)
    assert len(desk.settled(1)[0].text) == 100


def test_an_error_is_kept_in_a_cell_that_is_full() -> None:
    desk = Desk(stream_bytes=10, rich_bytes=10, outputs=1)
    desk.print("x" * 100)
    for _ in range(ERRORS_PER_CELL + 5):
        desk.hear("error", {"ename": "E", "evalue": "v", "traceback": []})
    errors = [output for output in desk.settled() if output.output_type == "error"]
    assert len(errors) == ERRORS_PER_CELL


def test_updates_of_a_display_are_not_counted_as_more_and_more() -> None:
    desk = Desk(rich_bytes=1_000, total_bytes=1_000)
    desk.show({"text/plain": "0"}, display_id="bar")
    for number in range(100):
        desk.show({"text/plain": str(number) * 50}, display_id="bar", kind="update_display_data")
    assert texts(desk.settled()) == ["99" * 50]


def test_an_update_can_not_grow_the_notebook_over_its_limit() -> None:
    desk = Desk(rich_bytes=1_000, total_bytes=2_000)
    for _ in range(10):
        desk.show({"text/plain": "0"}, display_id="bar", size=10)
    desk.show({"text/plain": "x" * 900}, display_id="bar", kind="update_display_data", size=900)
    assert texts(desk.settled())[0] == "0"


def test_cleared_outputs_free_their_room() -> None:
    desk = Desk(stream_bytes=100)
    for _ in range(20):
        desk.hear("clear_output", {"wait": False})
        desk.print("x" * 80)
    assert texts(desk.settled()) == ["x" * 80]


def test_a_flood_of_widget_messages_is_ignored() -> None:
    desk = Desk(widget_bytes=10_000)
    for number in range(1_000):
        content = {"comm_id": str(number), "data": {"state": {"value": "x" * 100}}, "target_name": "jupyter.widget"}
        desk.hear("comm_msg", content, size=200)
    desk.outputs.set_widgets_metadata()
    assert len(desk.outputs.widget_state) == 50
    assert desk.outputs.ignored_widget_messages == 950


# widgets


def test_what_goes_into_an_output_widget_is_in_its_state() -> None:
    desk = Desk()
    state = {"_model_name": "OutputModel", "_model_module": "@jupyter-widgets/output", "outputs": [], "msg_id": ""}
    desk.hear("comm_open", {"comm_id": "w", "target_name": "jupyter.widget", "data": {"state": state}})
    desk.hear("comm_msg", {"comm_id": "w", "data": {"state": {"msg_id": "request-0"}}})
    desk.print("inside")
    desk.hear("comm_msg", {"comm_id": "w", "data": {"state": {"msg_id": ""}}})
    desk.print("outside")
    desk.outputs.comm_objects["w"].flush = lambda: None  # there is no kernel to tell
    assert texts(desk.settled()) == ["outside"]
    assert desk.outputs.widget_state["w"]["outputs"][0]["text"] == "inside"


# hostile


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["stdout", "idle", "w", "text/plain"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "metadata",
                    "transient",
                    "display_id",
                    "name",
                    "text",
                    "state",
                    "comm_id",
                    "traceback",
                    "ename",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
CONTENTS = st.dictionaries(
    st.sampled_from(
        [
            "data",
            "metadata",
            "transient",
            "name",
            "text",
            "execution_count",
            "execution_state",
            "comm_id",
            "target_name",
            "ename",
            "evalue",
            "traceback",
            "wait",
        ]
    ),
    JSON,
)
KINDS = st.sampled_from(
    [
        "stream",
        "display_data",
        "execute_result",
        "update_display_data",
        "error",
        "clear_output",
        "status",
        "execute_input",
        "comm_open",
        "comm_msg",
        "comm_close",
        "nonsense",
    ]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(KINDS, CONTENTS, st.dictionaries(st.just("date"), JSON)), max_size=12))
def test_whatever_a_kernel_sends_the_notebook_stays_valid(
    messages: list[tuple[str, dict[str, Any], dict[str, Any]]],
) -> None:
    desk = Desk()
    for kind, content, header in messages:
        desk.hear(kind, content, header=header)
    desk.outputs.comm_objects.clear()  # there is no kernel to tell
    desk.settled()
    nbformat.writes(desk.notebook)


def test_a_count_that_is_no_count_is_ignored() -> None:
    desk = Desk()
    for count in ("7", -1, 1.5, True, [], 2**70):
        desk.hear("execute_input", {"execution_count": count})
    assert desk.notebook.cells[0].execution_count is None
    desk.hear("execute_input", {"execution_count": 7})
    assert desk.notebook.cells[0].execution_count == 7


def test_times_are_noted_if_they_are_times() -> None:
    desk = Desk()
    desk.hear("status", {"execution_state": "busy"}, header={"date": "2026-01-02T03:04:05.678901Z"})
    desk.hear("status", {"execution_state": "idle"}, header={"date": {"no": "date"}})
    assert desk.notebook.cells[0].metadata.execution == {"iopub.status.busy": "2026-01-02T03:04:05.678901Z"}


# secrets


SECRET = "s3cr3t-t0ken-value"


def test_a_secret_is_taken_out_of_every_kind_of_output() -> None:
    desk = Desk(secrets={"token": SECRET})
    desk.print(f"it is {SECRET}!\n")
    desk.show({"text/html": f"<b>{SECRET}</b>", "application/json": {SECRET: [SECRET]}})
    desk.hear("error", {"ename": "E", "evalue": SECRET, "traceback": [f"line {SECRET}"]})
    desk.settled()
    text = nbformat.writes(desk.notebook)
    assert SECRET not in text
    assert text.count("[secret token]") == 6


def test_a_secret_printed_in_two_parts_is_found_and_its_first_part_is_never_saved() -> None:
    desk = Desk(secrets={"token": SECRET})
    desk.print("it is " + SECRET[:9])
    desk.outputs.bring_up_to_date(0)
    assert SECRET[:4] not in desk.notebook.cells[0].outputs[0].text
    desk.print(SECRET[9:] + " and more")
    assert texts(desk.settled()) == ["it is [secret token] and more"]


def test_outputs_go_to_the_log_and_the_files_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = io.StringIO()
    redactor = Redactor({"token": SECRET})
    log = OutputLog(logging.getLogger("papermill"), {"stdout": file, "stderr": None}, redactor)
    desk = Desk(secrets={"token": SECRET}, log=log)
    desk.print("a " + SECRET[:5])
    desk.print(SECRET[5:] + " b\n")
    desk.print("warned", "stderr")
    desk.show({"text/plain": "shown"})
    desk.settled()
    assert file.getvalue() == "a [secret token] b\n"
    assert "a [secret token] b" in "".join(record.getMessage() for record in caplog.records)
    assert ("papermill", logging.WARNING, "warned") in caplog.record_tuples
    assert ("papermill", logging.INFO, "shown") in caplog.record_tuples
    assert SECRET not in caplog.text

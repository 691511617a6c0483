"""Passing a run's outputs on as they come: to papermill's log, and to files of one's own."""

from __future__ import annotations

import logging
from typing import Any, TextIO

from host_bridge.executor.redaction import Redactor


class OutputLog:
    """Where `log_output`, `stdout_file` and `stderr_file` send outputs.

    Args:
        logger: Gets printed text line by line: standard error as warnings; None logs nothing.
        files: Files by stream name.
        redactor: Takes secrets out of everything.
    """

    def __init__(self, logger: logging.Logger | None, files: dict[str, TextIO | None], redactor: Redactor) -> None:
        self._logger = logger
        self._files = files
        self._redactor = redactor
        self._held: dict[str, str] = {"stdout": "", "stderr": ""}

    def write(self, name: str, text: str) -> None:
        """Take printed text. While there are secrets, the end of it waits, since a secret may come in two parts."""
        text = self._held[name] + text
        if self._redactor.longest:
            text = self._redactor.redact(text)
            shown = max(0, len(text) - self._redactor.longest)
            text, self._held[name] = text[:shown], text[shown:]
        self._pass_on(name, text)

    def show(self, output: Any) -> None:
        """Take another output: its plain text is logged."""
        self.flush()
        text = output.get("data", {}).get("text/plain")
        if self._logger is not None and text:
            self._logger.info("".join(text))

    def flush(self) -> None:
        """Pass on what waits: a cell is over."""
        for name, text in self._held.items():
            self._held[name] = ""
            self._pass_on(name, self._redactor.redact(text))

    def _pass_on(self, name: str, text: str) -> None:
        if not text:
            return
        if self._logger is not None:
            self._logger.log(logging.WARNING if name == "stderr" else logging.INFO, "%s", text)
        file = self._files.get(name)
        if file is not None:
            file.write(text)
            file.flush()

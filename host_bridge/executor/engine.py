"""The papermill engine `hermes`: `papermill --engine hermes in.ipynb out.ipynb`.

Papermill loads this module whenever it starts, asked for this engine or not, so nothing heavy is imported before a run.
"""

from __future__ import annotations


class HermesEngine:
    """What papermill asks of an engine: which kernel, which language, and to run the notebook."""

"""The host's side: decides about each tool call, runs it, records it, and executes notebooks.

Nothing is imported here, so that the bridge process stays small: import `host_bridge.executor` for `NotebookExecutor`.
"""

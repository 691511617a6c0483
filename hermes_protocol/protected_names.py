"""The top-level names of a workspace that a kernel may not write: what makes the host, an editor or an agent run code later.

One table for both sides: the host keeps them from the kernels it confines, a kernel from itself.
"""

from __future__ import annotations

FOLDERS = (".git", ".claude", ".codex", ".cursor", ".hermes", ".idea", ".vscode")
"""Covered where they don't exist, by an empty folder, which git and editors pass over. Only names that make something run
when a person or an agent merely enters the folder: the covers can be seen on the host while a kernel runs."""

FILES = (".envrc", ".mcp.json")
"""The same, by an empty file."""

ONLY_IF_THERE = (
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".continue",
    ".devcontainer",
    ".direnv",
    ".env",
    ".gitattributes",
    ".gitconfig",
    ".github",
    ".gitmodules",
    ".husky",
    ".ipython",
    ".jupyter",
    ".pre-commit-config.yaml",
    ".profile",
    ".pythonrc.py",
    ".zed",
    ".zlogin",
    ".zprofile",
    ".zshenv",
    ".zshrc",
    "AGENTS.md",
    "CLAUDE.md",
    "hermes.toml",
)
"""Protected where they exist. A new one does nothing before somebody asks for it, and an empty `hermes.toml` would stop other
sessions."""

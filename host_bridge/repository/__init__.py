"""Notebooks in git: keeping a repository clean, proposing a change of a notebook, and reviewing one."""

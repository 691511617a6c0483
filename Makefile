# One command for people and for CI: `make check`. Every target makes what it needs in .venv.

PYTHON ?= python3
HERMES_AGENT = hermes-agent==0.19.0

.PHONY: check lint test coinstall bench clean

check: lint coinstall test

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

lint: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# The README's test command, as it stands there.
test:
	$(PYTHON) -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest

# Beside Hermes Agent, which pins its dependencies exactly: both in one environment, and a call that works there.
coinstall:
	rm -rf .venv-coinstall
	$(PYTHON) -m venv .venv-coinstall
	.venv-coinstall/bin/pip install --quiet --disable-pip-version-check '$(HERMES_AGENT)' .
	.venv-coinstall/bin/pip check
	.venv-coinstall/bin/hermes-runtime doctor
	rm -rf .venv-coinstall

bench: .venv/.installed
	.venv/bin/python -m benchmarks

clean:
	rm -rf .venv .venv-coinstall build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

"""What git starts to show how a notebook differs: nbdime's driver, without two seconds of imports for each notebook."""

from __future__ import annotations

import sys

from host_bridge.executor.imports import import_jsonschema_lightly


def main() -> int:
    """Show a difference; git gives its usual seven arguments."""
    import_jsonschema_lightly()
    from nbdime.vcs.git import diffdriver

    return int(diffdriver.main(["diff", "--use-filter", *sys.argv[1:]]) or 0)


if __name__ == "__main__":
    sys.exit(main())

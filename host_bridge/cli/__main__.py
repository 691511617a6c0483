"""`python -m host_bridge.cli`: the command line, where its script isn't installed."""

from __future__ import annotations

import sys

from host_bridge.cli import main

sys.exit(main())

"""Where pull requests live. `interface.py` says what one has to be able to do."""

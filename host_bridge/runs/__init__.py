"""The index of runs in the user's state folder: what ran, how it ended, and where its tape is."""

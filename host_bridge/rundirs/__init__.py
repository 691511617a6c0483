"""Run directories: the private folder of each sandbox, whose it is, and whether its owner still lives."""

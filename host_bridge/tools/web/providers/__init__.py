"""Where searches go: `interface` says how to write a provider; every other module is one, chosen by its name."""

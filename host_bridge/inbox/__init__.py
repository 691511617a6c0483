"""Questions that outlive a process: a folder of them, what waits for an answer there, and an HTTP API for who answers."""

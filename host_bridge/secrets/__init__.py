"""Secrets by handle: where one may go, how it gets there, and how it is kept out of everything else."""

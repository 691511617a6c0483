"""The kernel side: what a notebook imports."""

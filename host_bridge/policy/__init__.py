"""Who may do what: rules in, one decision out. Pure but for `loading`, which reads files, and `prompter`, which asks."""

"""What a confined process may touch, as values, and what is known of this machine for it: shared by kernels and commands.

spec           SandboxSpec, what may be touched; Launch, a command ready to be started
bubblewrap     SandboxSpec -> Launch, by namespaces, Landlock and seccomp
landlock       SandboxSpec -> Launch, by Landlock and seccomp alone
islands        what of a workspace must stay as it is
covers         the empty names that stand in for missing ones meanwhile
workspaces     which folders can be a workspace at all
interpreters   what a Python needs of the file system
probing        which backends work here
"""

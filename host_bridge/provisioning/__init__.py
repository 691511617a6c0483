"""Starting a kernel with its bridge session, and ending both: the one place every Jupyter application passes.

provisioner   what jupyter_client calls; the only module here that imports it (with `kernelspecs`)
options       what a host application may say about a kernel it starts
session       the host end of a session's control channel
supervisor    a daemon that starts session processes for others
confinement   from configuration to the command that starts a kernel confined; `host_bridge.sandbox` has the parts
sweep         removes what a crashed host left of a kernel's run directory
kernelspecs   registering the kernel with Jupyter
"""

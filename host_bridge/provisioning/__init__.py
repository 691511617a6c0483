"""Starting a kernel with its bridge session, and ending both: the one place every Jupyter application passes.

provisioner   what jupyter_client calls; the only module here that imports it (with `kernelspecs`)
options       what a host application may say about a kernel it starts
session       the host end of a session's control channel
supervisor    a daemon that starts session processes for others
rundir, sweep the private folder of a running kernel, and what a crashed host left of one
sandbox       from what a kernel may touch to the command that starts it
kernelspecs   registering the kernel with Jupyter
"""

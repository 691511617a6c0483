"""What a process takes from itself before it becomes a kernel, so that the bridge is its only way out.

`python -I -m hermes_runtime.confinement PLAN -- -m MODULE ARGUMENTS` carries out a plan the host wrote and then is that module.
Everything here only takes authority away; nothing gives it back. Linux only: `apply` refuses elsewhere.
"""

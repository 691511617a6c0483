"""How much of the machine kernels may use: memory, processes, processor time, and what holds them to it.

cgroups         control groups of both versions: places, entering, ending
cgroup_v1       the mechanisms, each found by trying
cgroup_v2
systemd_scope
limiter         the best of them for a kernel, and resource limits for the rest
"""

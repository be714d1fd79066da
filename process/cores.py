"""How many cores this process may use."""

import math
import os
from pathlib import Path


def physical_cores():
    """Count the physical cores of this process's affinity (taskset), up to the quota of its
    container (docker run --cpus). Where Linux does not say which processors share a core, each
    counts."""
    if hasattr(os, "sched_getaffinity"):
        processors = os.sched_getaffinity(0)
    else:
        processors = range(os.cpu_count() or 1)
    return max(1, min(len({core_of(one) for one in processors}), quota()))


def core_of(processor):
    """What processors of the same core have in common."""
    topology = Path(f"/sys/devices/system/cpu/cpu{processor}/topology")
    try:
        return (topology / "thread_siblings_list").read_text()
    except OSError:
        return processor


def quota(folder=Path("/sys/fs/cgroup")):
    """How many processors' time the container may use, rounded up; infinite without a limit."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):  # cgroup 2, 1
        try:
            limit, period = " ".join((folder / name).read_text() for name in files).split()
            if int(limit) > 0:
                return math.ceil(int(limit) / int(period))
        except (OSError, ValueError):  # not this cgroup; "max"
            continue
    return math.inf

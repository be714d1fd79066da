"""What runs here: this program's commit, the versions under it, and the processor."""

import os
import platform
import subprocess
from pathlib import Path

from process.cores import physical_cores
from process.libraries import installed

ROOT = Path(__file__).parent.parent


def in_words():
    """The lines of --version."""
    versions = {name: installed(name) for name in ("mxnet", "mxnet-cu112", "numpy")}
    versions = {**versions, "Python": platform.python_version()}
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    threads = os.environ.get("OMP_NUM_THREADS", physical_cores())
    return (
        f"main.py, commit {commit() or 'unknown: this is no clone'}\n{known}\n"
        f"OMP_NUM_THREADS {threads}, {processor()}"
    )


def commit():
    """The commit of this program, with -dirty where files were changed; None without a clone."""
    if not (ROOT / ".git").exists():  # or it might be the commit of a repository around it
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or the folder is somebody else's
        return None
    return done.stdout.decode().strip()


def processor():
    """The name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

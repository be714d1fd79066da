"""Start a scheduler, servers and workers that train as one, and end all of them where one fails.

`python -m cluster.launch --workers 2 main.py --train --center_loss --kvstore dist_sync`
"""

import argparse
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

END_WITHIN = 10  # seconds in which a process ends in its own way after a signal


def main():
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m cluster.launch", description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="number of workers (default: 2)")
    parser.add_argument("--servers", type=int, default=1, help="number of servers (default: 1)")
    parser.add_argument(
        "--hosts", nargs="+", default=[None], metavar="HOST",
        help="machines for workers and servers, by ssh (default: this one)",
    )  # fmt: skip
    parser.add_argument(
        "--address", default="127.0.0.1", help="where the others reach this machine"
    )
    parser.add_argument("script", help="main.py")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="its flags")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    address, processes = socket.gethostbyname(args.address), []  # MXNet understands no names
    common = {
        "DMLC_PS_ROOT_URI": address, "DMLC_PS_ROOT_PORT": free_port(address),
        "DMLC_NUM_SERVER": args.servers, "DMLC_NUM_WORKER": args.workers,
    }  # fmt: skip
    roles = ["server"] * args.servers + ["worker"] * args.workers
    places = [("scheduler", None)]
    places += [(role, args.hosts[i % len(args.hosts)]) for i, role in enumerate(roles)]
    try:
        for role, host in places:
            processes.append(start([args.script, *args.flags], {**common, "DMLC_ROLE": role}, host))
        return wait(places, processes)
    except KeyboardInterrupt:  # which the terminal sends to all of them
        time.sleep(0.5)
        return 128 + signal.SIGINT
    finally:
        end(processes)


def free_port(address):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def start(command, variables, host):
    """Start a process here or, with the same folder and Python, on another machine."""
    command, variables = [sys.executable, *command], {k: str(v) for k, v in variables.items()}
    if host is None:
        return subprocess.Popen(command, env={**os.environ, **variables})
    there = ["cd", os.getcwd(), "&&", "exec", "env", *(f"{k}={v}" for k, v in variables.items())]
    line = shlex.join([*there, *command]).replace("'&&'", "&&")
    return subprocess.Popen(["ssh", "-tt", host, line])  # -tt: they end with their connections


def wait(places, processes):
    """Wait until all have ended, or one has failed; returns the exit status."""
    while any(process.poll() is None for process in processes):
        for (role, host), process in zip(places, processes):
            if process.poll():
                where = f" on {host}" if host else ""
                print(f"launch: error: a {role}{where} (process {process.pid}) ended with status "
                      f"{process.poll()}, so all end: the same command with --resume goes on",
                      file=sys.stderr)  # fmt: skip
                return 1
        time.sleep(0.1)
    return max(process.returncode != 0 for process in processes)


def end(processes):
    """End those that still run: MXNet would wait for the others for ever."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)
        until = time.monotonic() + END_WITHIN
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0, until - time.monotonic()))


if __name__ == "__main__":
    sys.exit(main())

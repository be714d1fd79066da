"""Start a scheduler, servers and workers that train as one, and end all of them where one fails.

`python -m cluster.launch --workers 2 main.py --train --center_loss --kvstore dist_sync`
"""

import contextlib
import itertools
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

from process import arguments
from process.console import note
from process.errors import SIGNALS, handle_signals

END_WITHIN = 10  # seconds in which a process ends in its own way after a signal
KEPT = "finished epochs are kept, and the same command with --resume goes on"


def main():
    """Run the command line; returns the exit status."""
    args = parse()
    variables = {
        "DMLC_PS_ROOT_URI": args.address,
        "DMLC_PS_ROOT_PORT": args.port,
        "DMLC_NUM_SERVER": args.servers,
        "DMLC_NUM_WORKER": args.workers,
        "STARTED_BY": args.started_by,
    }
    roles = ["server"] * args.servers + ["worker"] * args.workers
    places = [("scheduler", None), *zip(roles, itertools.cycle(args.hosts))]
    processes = []
    handle_signals(lambda signum, _: sys.exit(128 + signum))
    try:
        for role, host in places:
            processes.append(start(args, {**variables, "DMLC_ROLE": role}, host))
        return wait(places, processes)
    except SystemExit:
        if args.hosts != [None]:  # whose last words ssh does not bring
            note(f"launch: interrupted; {KEPT}")
        raise
    finally:
        end(processes)


def parse():
    """The flags; also a port that is free at the address, and the command up to the script."""
    parser = arguments.Parser(prog="python -m cluster.launch", description=__doc__.split("\n")[0])
    number = arguments.whole(1, 9999)
    parser.add_argument("--workers", help="default: 2", type=number, default=2)
    parser.add_argument("--servers", help="default: 1", type=number, default=1)
    parser.add_argument(
        "--hosts", metavar="HOST,HOST", type=lambda text: text.split(","), default=[None],
        help="start servers and workers there, in turn, by ssh (default: here)",
    )  # fmt: skip
    parser.add_argument("--address", help="of this machine, for --hosts: how they reach it")
    parser.add_argument("script", help="main.py")
    parser.add_argument("flags", nargs="...", help="its flags")
    args = parser.parse_args(sys.argv[1:])
    if (args.address is None) != (args.hosts == [None]):
        parser.error("--hosts and --address go together")
    args.address = args.address or "127.0.0.1"
    try:
        with socket.socket() as probe:
            probe.bind((args.address, 0))
            args.port = probe.getsockname()[1]
    except OSError as error:
        parser.error(f"--address {args.address}: {error.strerror}")
    before = sys.argv[1 : len(sys.argv) - len(args.flags)]
    args.started_by = shlex.join(["python", "-m", "cluster.launch", *before])
    return args


def start(args, variables, host):
    """Start a process here or, with the same folder and Python, on another machine."""
    command = [sys.executable, args.script, *args.flags]
    variables = {name: str(value) for name, value in variables.items()}
    if host is None:
        return subprocess.Popen(command, env={**os.environ, **variables})
    words = ["env", *(f"{name}={value}" for name, value in variables.items()), *command]
    line = f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(words)}"
    # With a terminal of its own (-tt) a process there ends with its connection.
    ssh = ["ssh", "-tt", "-o", "BatchMode=yes", host, line]
    return subprocess.Popen(ssh, stdin=subprocess.DEVNULL)


def wait(places, processes):
    """Wait until all have ended, or one has failed; returns the exit status."""
    while True:
        statuses = [process.poll() for process in processes]
        for (role, host), process, status in zip(places, processes, statuses):
            if status:
                who = f"{role} on {host}" if host else role
                how = f"status {status}" if status > 0 else f"signal {-status}"
                note(
                    f"launch: error: process {process.pid} ({who}) ended with {how}, so all end; "
                    f"{KEPT}"
                )
                return max(status, 1)
        if None not in statuses:
            return 0
        time.sleep(0.1)


def end(processes):
    """End those that still run: MXNet would wait for the others for ever."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
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

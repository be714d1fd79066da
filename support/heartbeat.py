"""The processes that train together: where they meet, and how one hears that another died."""

import os
import signal
import socket
import threading

from support.console import fail, say
from support.errors import SIGNALS, UserError

CLUSTER = ("DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_SERVER", "DMLC_NUM_WORKER")
SCHEDULER = 1  # ps-lite's number for it


def check_cluster():
    """Check what the environment says of the processes that train together.

    Raises
    ------
    UserError
        A variable is missing, or does not lead to the scheduler.
    """
    # Without a heart beat nobody would hear of a death.
    heart_beat = {"PS_HEARTBEAT_INTERVAL": "1", "PS_HEARTBEAT_TIMEOUT": "10"}
    for name, seconds in heart_beat.items():
        os.environ.setdefault(name, seconds)
    for name in ("DMLC_ROLE", *CLUSTER, *heart_beat):
        value = os.environ.get(name, "")
        if name == "DMLC_ROLE":
            valid = value in ("scheduler", "server", "worker")
        elif name == "DMLC_PS_ROOT_URI":
            valid = value
        else:
            valid = value.isdecimal() and 0 < int(value) < 2**16
        if not valid:
            raise UserError(
                f"--kvstore dist_sync and dist_async need {name}, which is {value!r}: "
                "see 'Several machines', docs/several_machines.md"
            )
    host, port = os.environ["DMLC_PS_ROOT_URI"], int(os.environ["DMLC_PS_ROOT_PORT"])
    try:
        socket.getaddrinfo(host, port)
        if os.environ["DMLC_ROLE"] == "scheduler":
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
    except OSError as error:
        raise UserError(
            f"the scheduler cannot be at {host}:{port} ({error.strerror}): "
            "change DMLC_PS_ROOT_URI or DMLC_PS_ROOT_PORT"
        ) from error


def announce():
    """Say who is waited for, and let signals end the wait."""
    for one in SIGNALS:
        signal.signal(one, signal.SIG_DFL)  # a handler of Python's would wait as long as we do
    role, host, port, servers, workers = (os.environ[name] for name in ("DMLC_ROLE", *CLUSTER))
    say(
        f"{role}: waiting for the scheduler at {host}:{port}, {servers} server(s) and "
        f"{workers} worker(s)"
    )


def watch():
    """End this process when another one dies; returns a function that ends the watch.

    The scheduler hears everyone's heart beat, the others hear the scheduler's: so it is the first
    to end, and they follow. Nothing in MXNet would ever tell a worker that waits for a dead one.
    """
    is_silent = listen()
    if os.environ["DMLC_ROLE"] == "scheduler":
        nodes = {8 + 2 * i: f"server {i}" for i in range(int(os.environ["DMLC_NUM_SERVER"]))}
        nodes.update({9 + 2 * i: f"rank {i}" for i in range(int(os.environ["DMLC_NUM_WORKER"]))})
    else:
        nodes = {SCHEDULER: "the scheduler"}
    done = threading.Event()

    def look():
        before = set()
        while not done.wait(1):
            silent = {name for node, name in nodes.items() if is_silent(node)}
            # Once is not enough: for a moment, just when all have met, ps-lite calls all silent.
            for name in silent & before:
                fail(
                    f"{name} has ended or cannot be reached: start all processes again, "
                    "with --resume"
                )
                os._exit(1)
            before = silent

    thread = threading.Thread(target=look, daemon=True)
    thread.start()

    def stop():
        done.set()
        thread.join()

    return stop


def listen():
    """A function that says whether a node, by ps-lite's number, has been silent for too long."""
    # MXNet is not there yet when the environment is checked.
    import ctypes

    from mxnet.base import _LIB, check_call

    handle, role = ctypes.c_void_p(), os.environ["DMLC_ROLE"]
    # Only a worker's key-value store waits for the others at its creation, and at its end, which
    # this one does not have. That of a worker would be too late: some may die while others wait.
    os.environ["DMLC_ROLE"] = "scheduler"
    check_call(_LIB.MXKVStoreCreate(b"dist", ctypes.byref(handle)))
    os.environ["DMLC_ROLE"] = role
    timeout = int(os.environ["PS_HEARTBEAT_TIMEOUT"])

    def is_silent(node):
        count = ctypes.c_int()
        check_call(_LIB.MXKVStoreGetNumDeadNode(handle, node, ctypes.byref(count), timeout))
        return count.value > 0

    return is_silent

"""The processes that train together: where they meet, and how one hears that another died."""

import contextlib
import ctypes
import os
import signal
import socket
import threading

from support.console import fail, note, say
from support.errors import SIGNALS, UserError

CLUSTER = ("DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_SERVER", "DMLC_NUM_WORKER")
SCHEDULER = 1  # ps-lite's number for it
PATIENCE = 15  # seconds


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
        # ps-lite understands no names.
        host = socket.getaddrinfo(host, port, socket.AF_INET)[0][4][0]
        os.environ["DMLC_PS_ROOT_URI"] = host
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
    others = f"{servers} server(s) and {workers} worker(s)"
    if role == "scheduler":
        say(f"scheduler: waiting at {host}:{port} for {others}")
    else:
        say(f"{role}: waiting for the scheduler at {host}:{port}, {others}")


@contextlib.contextmanager
def meeting():
    """While a worker waits for the others: say what for, and end it when the scheduler ends.

    To a worker that the scheduler has no place for ps-lite never says a word.
    """
    address = os.environ["DMLC_PS_ROOT_URI"], int(os.environ["DMLC_PS_ROOT_PORT"])
    met = threading.Event()

    def there():
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
            return True
        return False

    def look():
        seen, missed, seconds = False, 0, 0
        while not met.wait(1):
            seconds += 1
            if seconds == PATIENCE:
                note(
                    "still waiting: are all processes started, with the same DMLC_* variables, "
                    f"and no more than {os.environ['DMLC_NUM_SERVER']} server(s) and "
                    f"{os.environ['DMLC_NUM_WORKER']} worker(s)?"
                )
            seen, missed = (True, 0) if there() else (seen, missed + seen)
            if missed == 3:
                fail(
                    "the scheduler has ended before this process has met all others: start all "
                    "processes again, with --resume"
                )
                os._exit(1)

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        met.set()


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
        nodes = {SCHEDULER: "the scheduler, or another process, as the scheduler says,"}
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

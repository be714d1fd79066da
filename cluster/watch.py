"""End this process when another one of the cluster has died: MXNet would wait for it for ever.

Servers and workers send heartbeats to the scheduler, which answers each. So the scheduler hears of
all others, and they hear of the scheduler alone. It ends when one of them has died, and they end
when it has.
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import threading
import time

from process.console import fail, note
from process.errors import UserError, check_signals, handle_signals

NUMBER = "[1-9][0-9]{0,4}"
VARIABLES = {
    "DMLC_ROLE": "scheduler|server|worker",
    "DMLC_PS_ROOT_URI": ".+",
    "DMLC_PS_ROOT_PORT": NUMBER,
    "DMLC_NUM_SERVER": NUMBER,
    "DMLC_NUM_WORKER": NUMBER,
}
SILENT = 6  # seconds without a heartbeat
# How often in a row, once a second, a process must be found silent to count as dead: one that was
# suspended, as by Ctrl-Z, finds all others silent at first.
TIMES = 3
NOTE_AFTER, MEET_WITHIN = 15, 300  # seconds for all to come
LEAVE_WITHIN = 20
# Seconds after a signal. Rank 0 ends after its step, for which it may need the others.
LEADER_ENDS_WITHIN, OTHERS_END_AFTER = 5, 3
AGAIN = "finished epochs are kept; start all processes again, with --resume"


class Watch(threading.Thread):
    """A thread that asks once a second who is dead, and ends this process with a line.

    Raises UserError where the ``DMLC_*`` variables do not say what this process is.
    """

    def __init__(self):
        super().__init__(daemon=True)
        for name, pattern in VARIABLES.items():
            value = os.environ.get(name, "")
            if not re.fullmatch(pattern, value):
                raise UserError(
                    f"--kvstore dist_sync and dist_async need {name}, which is {value!r}: start "
                    "all with 'python -m cluster.launch', see docs/several_machines.md"
                )
        self.role, self.host, port, servers, workers = map(os.environ.get, VARIABLES)
        self.port, self.servers, self.workers = int(port), int(servers), int(workers)
        self.others = {1: "the scheduler"}  # by their numbers in ps-lite
        if self.role == "scheduler":
            self.others = {8 + 2 * i: f"server {i}" for i in range(self.servers)}
            self.others.update((9 + 2 * i, f"worker {i}") for i in range(self.workers))
        self.lock = threading.Lock()
        self.handle, self.leads, self.left = None, False, False
        self.signals, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker)  # the main thread hears no signals while MXNet waits

    def find_scheduler(self):
        """Prepare MXNet to meet the others, and wait until the scheduler's name is known.

        Raises UserError where the scheduler cannot be here, and Interrupted.
        """
        os.environ.update(PS_HEARTBEAT_INTERVAL="1", PS_HEARTBEAT_TIMEOUT=str(SILENT))
        if self.role == "scheduler" and os.environ.get("DMLC_USE_KUBERNETES", "0") != "0":
            return  # MXNet takes all addresses; the name may be known only once it is there
        address = os.environ["DMLC_PS_ROOT_URI"] = resolve(self.host)  # MXNet binds no names
        if self.role == "scheduler":
            try:
                socket.create_server((address, self.port)).close()
            except OSError as error:
                fault = os.strerror(error.errno)
                raise UserError(
                    f"the scheduler cannot be at {self.host}:{self.port} ({fault}): change "
                    "DMLC_PS_ROOT_URI or DMLC_PS_ROOT_PORT"
                ) from error
        elif "DMLC_INTERFACE" not in os.environ:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((address, self.port))  # sends nothing
                os.environ.setdefault("DMLC_NODE_HOST", probe.getsockname()[0])

    def follow(self, kv, leads=False):
        """Ask this kvstore from now on; `leads` says whether this is rank 0."""
        self.handle, self.leads = kv.handle, leads
        if not leads:
            handle_signals(lambda *_: None)  # heard by the pipe alone

    def leave(self):
        """Ask no more, because the kvstore goes, and see that it does so in time."""
        with self.lock:
            self.handle, self.left = None, True

    def run(self):
        waited = silent = leaving = 0  # seconds
        met = False
        while True:
            if select.select([self.signals], [], [], 1)[0]:
                self.end_after_signal(os.read(self.signals, 1)[0])
            with self.lock:
                met = met or bool(self.silent_for(-1))  # then all others count as silent
                dead = self.silent_for(SILENT)
            waited, leaving = waited + (not met), leaving + self.left
            silent = silent + 1 if dead else 0
            if waited == NOTE_AFTER:
                note(f"still waiting for {self.missing()}")
            elif waited == MEET_WITHIN:
                self.end(f"waited {MEET_WITHIN // 60} minutes for {self.missing()}")
            elif silent == TIMES:
                self.end(f"{' and '.join(dead)} ended or cannot be reached: {AGAIN}")
            elif leaving == LEAVE_WITHIN:
                self.end("another process ended while all were leaving; what was trained is kept")

    def silent_for(self, seconds):
        """The names of those not heard of for so many seconds; none before all have met."""
        from mxnet.base import _LIB

        count = ctypes.c_int(0)
        if self.handle is not None:
            _LIB.MXKVStoreGetGroupSize(self.handle, ctypes.byref(count))
        if not count.value:  # MXNet has not read the environment, and would crash
            return []
        names = []
        for number, name in self.others.items():
            count = ctypes.c_int(0)
            _LIB.MXKVStoreGetNumDeadNode(self.handle, number, ctypes.byref(count), seconds)
            names += [name] * count.value
        return names

    def missing(self):
        """Who has not come, as far as this process can know."""
        place = f"{self.host}:{self.port}"
        if self.role != "scheduler":
            try:
                socket.create_connection((self.host, self.port), 1).close()
            except (OSError, UnicodeError) as error:
                return f"the scheduler at {place} ({error})"
        return f"some of {self.servers} server(s) and {self.workers} worker(s), who meet at {place}"

    def end_after_signal(self, signum):
        """End when the main thread had its time to do so."""
        time.sleep(LEADER_ENDS_WITHIN if self.leads else OTHERS_END_AFTER)
        if self.leads:
            note(f"Interrupted while another process did not answer; {AGAIN}")
        os._exit(128 + signum)

    def end(self, error):
        fail(error)
        os._exit(1)


def resolve(name):
    """The address of a machine, as soon as its name is known."""
    while True:
        check_signals()
        with contextlib.suppress(OSError, UnicodeError):
            return socket.gethostbyname(name)
        time.sleep(1)

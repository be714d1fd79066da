"""The processes that train together: how they meet, and how each hears what ended another.

Every server and worker keeps a connection to the scheduler, over which both send lines of JSON: who
they are, where MXNet's parameter server is to meet, what went wrong. A connection that breaks is a
process that died. MXNet itself would wait for it for ever.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import threading
import time

from process.console import fail, note, say
from process.errors import SIGNALS, UserError, check_signals, received

NUMBERS = ("DMLC_NUM_SERVER", "DMLC_NUM_WORKER")
VARIABLES = ("DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", *NUMBERS)
NOTE_AFTER = 15  # seconds until a process that waits says for what
SIGNALLED_END_WITHIN = 5  # seconds in which a process that got a signal ends in its own way
LEAVE_WITHIN = 60  # seconds in which all leave after the training
KEEP_ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
FILES, FILES_OF_EACH = 40, 4  # open files of a process, and those for each other one; ample
AGAIN = "start all processes again, with --resume"

here = None  # this process among the others, once it tries to meet them
ending = threading.Lock()  # held for ever by the thread that says why this process ends


def join(flags):
    """Meet the other processes, and see that all were started alike.

    Parameters
    ----------
    flags : dict of str to anything that JSON can hold
        What all workers must have in common.

    Returns
    -------
    Scheduler or Member

    Raises
    ------
    UserError
        A variable is missing, or does not lead to the scheduler; or the system lets this process
        open too few files.
    Interrupted
        A signal came while some are missing.
    """
    global here
    role, address = read_environment()
    allow_files(FILES + FILES_OF_EACH * sum(int(os.environ[name]) for name in NUMBERS))
    if role == "scheduler":
        from cluster.scheduler import Scheduler  # asyncio takes a while to import

        here = Scheduler(address)
    else:
        here = Member(address)
    here.meet({"role": role, "flags": flags, **{name: os.environ[name] for name in NUMBERS}})
    # From here on MXNet waits, during which a handler of Python's would wait too.
    let_signals_end()
    return here


def let_signals_end():
    """Let a signal that is not ignored end this process at once from here on."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def heed_signals():
    """End this process some seconds after a signal that its main thread does not heed, because
    MXNet keeps it waiting for another process."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())

    def watch(woken, waker):
        number = woken.recv(1)[0]
        time.sleep(SIGNALLED_END_WITHIN)
        note("Interrupted while it waited for the others: rank 0 keeps the finished epochs")
        end(128 + number)

    threading.Thread(target=watch, args=[woken, waker], daemon=True).start()  # keeps both open


def be_last():
    """Be the thread that says why this process ends; any other waits here until it has ended."""
    if threading.current_thread() is threading.main_thread():
        let_signals_end()
    ending.acquire()


def end(status, error=None):
    """End this process, and say why to the user and to all others."""
    be_last()
    if error is not None:
        fail(error)
    if here is not None:
        here.tell(f"interrupted: {AGAIN}" if error is None else str(error))
    os._exit(status)


def read_environment():
    """What the environment says of this process: its role, and the address of the scheduler."""
    for name in ("DMLC_ROLE", *VARIABLES):
        value = os.environ.get(name, "")
        if name == "DMLC_ROLE":
            valid = value in ("scheduler", "server", "worker")
        elif name == "DMLC_PS_ROOT_URI":
            valid = value
        else:
            valid = value.isdecimal() and len(value) < 6 and 0 < int(value) < 2**16
        if not valid:
            raise UserError(
                f"--kvstore dist_sync and dist_async need {name}, which is {value!r}: "
                "see 'Several machines', docs/several_machines.md"
            )
    host, port = os.environ["DMLC_PS_ROOT_URI"], int(os.environ["DMLC_PS_ROOT_PORT"])
    with explained(host, port):  # MXNet understands no names
        host = socket.getaddrinfo(host, port, socket.AF_INET)[0][4][0]
    os.environ["DMLC_PS_ROOT_URI"] = host
    return os.environ["DMLC_ROLE"], (host, port)


def allow_files(needed):
    """Raise the limit of open files as far as this process may: MXNet aborts at it."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (limit, most):
        return
    if most < needed:
        raise UserError(
            f"so many processes need up to {needed} open files each, and this one may have {most}: "
            "raise the limit with ulimit -n"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, needed), most))


@contextlib.contextmanager
def explained(host, port):
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no name of a machine"
        raise UserError(
            f"the scheduler cannot be at {host}:{port} ({reason}): "
            "change DMLC_PS_ROOT_URI or DMLC_PS_ROOT_PORT"
        ) from error


def keep_alive(connection):
    """Let the system ask now and then whether the other machine is still there."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def leave_in_time():
    """End this process some time after all should have left: MXNet would wait for ever."""

    def end_it():
        fail("another process ended while all were leaving; what was trained is kept")
        os._exit(1)

    timer = threading.Timer(LEAVE_WITHIN, end_it)
    timer.daemon = True
    timer.start()


def to_line(**message):
    return json.dumps(message).encode() + b"\n"


def wait(event, complain):
    """Wait for an event that another thread sets; call `complain` once if that takes long."""
    began = time.monotonic()
    while not event.wait(0.2):
        check_signals()
        if time.monotonic() - began > NOTE_AFTER:
            began = float("inf")
            complain()
    check_signals()


class Member:
    """A server or a worker."""

    def __init__(self, address):
        self.address = address
        self.connection = None
        self.met, self.left = threading.Event(), threading.Event()

    def meet(self, hello):
        """Connect to the scheduler, and wait until it says that all are there."""
        self.where = ":".join(map(str, self.address))
        say(
            f"{hello['role']}: waiting for the scheduler at {self.where}, "
            f"{hello['DMLC_NUM_SERVER']} server(s) and {hello['DMLC_NUM_WORKER']} worker(s)"
        )
        threading.Thread(target=self.listen, args=[hello], daemon=True).start()
        wait(self.met, self.complain)

    def complain(self):
        """Say where no scheduler answers; one that does says itself for whom it waits."""
        if self.connection is None:
            note(f"still waiting for the scheduler at {self.where}: is it started there?")

    def listen(self, hello):
        """Hear what the scheduler says, and end this process with all others."""
        self.connection = self.connect()
        self.send(hello=hello, process=f"process {os.getpid()} on {socket.gethostname()}")
        error = f"the scheduler has ended or cannot be reached: {AGAIN}"
        with contextlib.suppress(OSError), self.connection.makefile("rb") as lines:
            for line in lines:
                try:
                    message = dict(json.loads(line))
                except (ValueError, TypeError, RecursionError):
                    error = f"what answers at {self.where} is no scheduler"
                    break
                if "leave" in message:
                    self.left.set()
                    leave_in_time()
                    return
                if "error" in message:
                    error = message["error"]
                    break
                self.heed(message)
        if received:  # then this process may be about to end by itself, as the others do
            time.sleep(SIGNALLED_END_WITHIN)
        be_last()
        fail(error)
        os._exit(1)

    def connect(self):
        """Try until the scheduler is there."""
        while True:
            with contextlib.suppress(OSError):
                connection = socket.create_connection(self.address, timeout=5)
                # Where nobody listens the system may connect a socket with itself.
                if connection.getsockname() != connection.getpeername():
                    connection.settimeout(None)
                    keep_alive(connection)
                    return connection
                connection.close()
            time.sleep(0.2)

    def heed(self, message):
        """Do what the scheduler asks for."""
        if "note" in message:
            note(message["note"])
        if "port" in message:
            os.environ["DMLC_PS_ROOT_PORT"] = str(message["port"])
            self.met.set()

    def send(self, **message):
        with contextlib.suppress(OSError):  # `listen` will know
            self.connection.sendall(to_line(**message))

    def rename(self, name):
        """Let the others call this process `name`."""
        self.send(name=name)

    def tell(self, error):
        """Let the others know why this process ends."""
        if self.connection is not None:
            self.send(error=error)

    def leave(self):
        """Let all end, each when it is ready."""
        self.send(leave=True)
        self.left.wait()

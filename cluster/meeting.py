"""The processes that train together: how they meet, and how each hears what ended another.

Every server and worker keeps a connection to the scheduler, over which both send lines of JSON: who
they are, where MXNet's parameter server is to meet, what went wrong. A connection that breaks is a
process that died. MXNet itself would wait for it for ever.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import threading
import time

from process.console import fail, note, say
from process.errors import SIGNALS, UserError, check_signals, received

NUMBERS = ("DMLC_NUM_SERVER", "DMLC_NUM_WORKER")
VARIABLES = ("DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", *NUMBERS)
PATIENCE = 15  # seconds until a process that waits says for what
PARTING = 60  # seconds in which all must have left
LONGEST = 2**16  # bytes of a line
GRACE = 5  # seconds in which a process that has a signal may end in its own way
KEEP_ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
AGAIN = "start all processes again, with --resume"

here = None  # this process among the others, once it tries to meet them
ending = threading.Lock()  # held for ever by who says why this process ends


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
        A variable is missing, or does not lead to the scheduler.
    Interrupted
        A signal came while some are missing.
    """
    global here
    role, address = read_environment()
    here = (Scheduler if role == "scheduler" else Member)(address)
    here.meet({"role": role, "flags": flags, **{name: os.environ[name] for name in NUMBERS}})
    # From here on MXNet waits, during which a handler of Python's would wait too.
    for one in SIGNALS:
        signal.signal(one, signal.SIG_DFL)
    return here


def be_last():
    """Be the one who says why this process ends; a signal ends it at once from here on."""
    ending.acquire()
    if threading.current_thread() is threading.main_thread():
        for one in SIGNALS:
            signal.signal(one, signal.SIG_DFL)


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
            valid = value.isdecimal() and 0 < int(value) < 2**16
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

    timer = threading.Timer(PARTING, end_it)
    timer.daemon = True
    timer.start()


def to_line(**message):
    return json.dumps(message).encode() + b"\n"


class Member:
    """A server or a worker."""

    def __init__(self, address):
        self.address = address
        self.connection = None
        self.met, self.left = threading.Event(), threading.Event()

    def meet(self, hello):
        """Connect to the scheduler, and wait until it says that all are there."""
        where = ":".join(map(str, self.address))
        say(
            f"{hello['role']}: waiting for the scheduler at {where}, "
            f"{hello['DMLC_NUM_SERVER']} server(s) and {hello['DMLC_NUM_WORKER']} worker(s)"
        )
        began, noted = time.monotonic(), False
        while True:
            check_signals()
            with contextlib.suppress(OSError):
                self.connection = socket.create_connection(self.address, timeout=1)
                # Where nobody listens the system may connect a socket with itself.
                if self.connection.getsockname() != self.connection.getpeername():
                    break
                self.connection.close()
            if not noted and time.monotonic() - began > PATIENCE:
                note(f"still waiting for the scheduler at {where}: is it started there?")
                noted = True
            time.sleep(0.2)
        self.connection.settimeout(None)
        keep_alive(self.connection)
        self.send(hello=hello, process=f"process {os.getpid()} on {socket.gethostname()}")
        threading.Thread(target=self.listen, daemon=True).start()
        while not self.met.wait(0.2):
            check_signals()
        check_signals()

    def send(self, **message):
        with contextlib.suppress(OSError):  # `listen` will know
            self.connection.sendall(to_line(**message))

    def listen(self):
        """Hear what the scheduler says."""
        error = f"the scheduler has ended or cannot be reached: {AGAIN}"
        with contextlib.suppress(OSError), self.connection.makefile("rb") as lines:
            for line in lines:
                try:
                    message = dict(json.loads(line))
                except (ValueError, TypeError, RecursionError):
                    error = "what answers at {}:{} is no scheduler".format(*self.address)
                    break
                if "leave" in message:
                    self.left.set()
                    leave_in_time()
                    return
                if "note" in message:
                    note(message["note"])
                if "port" in message:
                    os.environ["DMLC_PS_ROOT_PORT"] = str(message["port"])
                    self.met.set()
                if "error" in message:
                    error = message["error"]
                    break
        if received:  # then this process may be about to end by itself, as the others do
            time.sleep(GRACE)
        be_last()
        fail(error)
        os._exit(1)

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


class Peer:
    """A member, as the scheduler knows it."""

    def __init__(self, connection):
        self.connection = connection
        self.heard = b""
        self.name = None
        self.hello = None


class Scheduler:
    """The scheduler, which everybody is connected to."""

    def __init__(self, address):
        self.address = address
        self.connected = []  # all, and
        self.peers = []  # those that have said who they are
        self.leaving = False
        self.selector = selectors.DefaultSelector()
        with explained(*address):
            self.listener = socket.create_server(address)
        self.selector.register(self.listener, selectors.EVENT_READ)

    def meet(self, hello):
        """Wait until all are there, then let them go on."""
        self.hello = hello
        self.wanted = {"server": int(hello[NUMBERS[0]]), "worker": int(hello[NUMBERS[1]])}
        say(
            "scheduler: waiting at {}:{} for {} server(s) and {} worker(s)".format(
                *self.address, *self.wanted.values()
            )
        )
        began, noted = time.monotonic(), False
        while self.missing():
            check_signals()
            self.look()
            if not noted and time.monotonic() - began > PATIENCE:
                text = " and ".join(f"{n} {role}(s)" for role, n in self.missing().items())
                note(f"still waiting for {text}")
                self.send(note=f"the scheduler is still waiting for {text}")
                noted = True
        check_signals()
        # A port that MXNet can have: bound here so that nobody else takes it meanwhile.
        self.reserved = socket.socket()
        self.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reserved.bind((self.address[0], 0))
        port = self.reserved.getsockname()[1]
        os.environ["DMLC_PS_ROOT_PORT"] = str(port)
        self.send(port=port)
        threading.Thread(target=self.listen, daemon=True).start()

    def missing(self):
        """How many there should be of each role, and are not."""
        roles = [peer.hello["role"] for peer in self.peers]
        left = {role: count - roles.count(role) for role, count in self.wanted.items()}
        return {role: count for role, count in left.items() if count}

    def listen(self):
        while True:
            self.look()

    def look(self):
        """Hear who comes, and what those who are there say."""
        for key, _ in self.selector.select(timeout=0.2):
            if key.data is None:
                with contextlib.suppress(OSError):  # it may have gone already
                    connection, _ = key.fileobj.accept()
                    keep_alive(connection)
                    self.connected.append(Peer(connection))
                    self.selector.register(connection, selectors.EVENT_READ, self.connected[-1])
            else:
                self.hear(key.data)

    def hear(self, peer):
        try:
            content = peer.connection.recv(LONGEST)
        except OSError:
            content = b""
        *lines, peer.heard = (peer.heard + content).split(b"\n")
        try:
            for line in lines:
                self.answer(peer, json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            content = b""  # whoever that is, it is none of us
        if not content or len(peer.heard) > LONGEST:
            self.dismiss(peer)
            if peer in self.peers and not self.leaving:
                self.end(f"{peer.name} has ended or cannot be reached: {AGAIN}", peer)

    def answer(self, peer, message):
        if "hello" in message:
            self.welcome(peer, message["hello"], message["process"])
        elif "name" in message:
            peer.name = message["name"]
        elif "leave" in message and peer in self.peers and not self.leaving:
            self.leaving = True
            self.send(leave=True)
            leave_in_time()
        elif "error" in message and peer in self.peers:
            self.end(f"{peer.name}: {message['error']}", peer)

    def welcome(self, peer, hello, process):
        """Take a process in, unless it has no place here or was started otherwise."""
        role = hello["role"]
        peer.name = f"a {role} ({process})"
        if role not in self.missing():
            there = self.wanted[role]
            with contextlib.suppress(OSError):
                peer.connection.sendall(
                    to_line(error=f"all {there} {role}(s) that DMLC_NUM_{role.upper()} asks for "
                            "are there already: start one less, or all again with a higher number")
                )  # fmt: skip
            self.dismiss(peer)
            return
        peer.hello = hello
        self.peers.append(peer)
        for name in NUMBERS:
            self.compare(name, self.hello[name], "the scheduler", hello[name], peer.name)
        if role == "worker":
            first = next(one for one in self.peers if one.hello["role"] == "worker")
            for name in {**first.hello["flags"], **hello["flags"]}:
                value, other = (one.hello["flags"].get(name, "not given") for one in (first, peer))
                self.compare(name, value, first.name, other, peer.name)

    def compare(self, name, value, where, other, elsewhere):
        if value != other:
            self.end(
                f"{name} is {value} at {where}, but {other} at {elsewhere}: start all processes "
                "with the same flags and DMLC_* variables"
            )

    def dismiss(self, peer):
        if peer in self.connected:
            self.connected.remove(peer)
            self.selector.unregister(peer.connection)
            peer.connection.close()

    def end(self, error, but=None):
        """End all processes, `but` one that has ended already."""
        be_last()
        fail(error)
        self.send_last(error, but)
        self.turn_away(error)
        os._exit(1)

    def tell(self, error):
        """Let the others know why this process ends."""
        self.send_last(f"the scheduler: {error}")

    def send_last(self, error, but=None):
        self.send(but, error=error)
        # A connection that is closed before all was read may lose what was sent.
        for peer in self.connected:
            with contextlib.suppress(OSError):
                peer.connection.shutdown(socket.SHUT_WR)
                peer.connection.settimeout(GRACE)
                while peer.connection.recv(LONGEST):
                    pass

    def turn_away(self, error):
        """Tell those who are still to come that it is over."""
        until = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):
            unheard = len(self.connected) - len(self.peers)
            for _ in range(sum(self.missing().values()) - unheard):
                self.listener.settimeout(max(0.1, until - time.monotonic()))
                connection, _ = self.listener.accept()
                connection.settimeout(1)
                with connection, contextlib.suppress(OSError):
                    connection.recv(LONGEST)
                    connection.sendall(to_line(error=error))

    def send(self, but=None, **message):
        for peer in list(self.connected):
            if peer is not but:
                with contextlib.suppress(OSError):
                    peer.connection.sendall(to_line(**message))

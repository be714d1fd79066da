"""The scheduler of processes that train together, which all others are connected to."""

import asyncio
import json
import os
import resource
import socket
import threading

from cluster.meeting import (
    AGAIN,
    NUMBERS,
    ending,
    explained,
    keep_alive,
    leave_in_time,
    to_line,
    wait,
)
from process.console import fail, note, say

HELLO_WITHIN = 10  # seconds in which whoever connects says who it is
LAST_WORDS_WITHIN = 10  # seconds in which all are told why they end
MAX_STRANGERS = 64  # connections of processes that have not said who they are
ACCEPTED_AT_ONCE = 2  # so few that a hello is read before many others come
QUEUE = 1000  # connections that the system keeps until then
MAX_LINE = 2**16  # bytes
# What lines raise that are not of our processes, or do not come.
NOT_OURS = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError)


def max_strangers():
    """How many strangers leave most of the files that a process may open to members and MXNet."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = files == resource.RLIM_INFINITY
    return MAX_STRANGERS if unlimited else min(MAX_STRANGERS, files // 4)


class Peer:
    """A server or a worker, as the scheduler knows it."""

    def __init__(self, writer, role, process, flags):
        self.writer, self.role, self.flags = writer, role, flags
        self.name = f"a {role} ({process})"

    def send(self, **message):
        self.writer.write(to_line(**message))  # which waits for nobody


class Scheduler:
    """The scheduler. A thread of its own hears all others, until there is a reason to end."""

    def __init__(self, address):
        self.address = address
        self.members = []  # those that have said hello, also when they have gone
        self.present = []  # those that are still connected
        self.strangers = []  # connections over which no hello came yet, the oldest first
        self.max_strangers = max_strangers()
        self.leaving, self.overdue = False, False
        self.met, self.parted = threading.Event(), threading.Event()
        self.loop = asyncio.new_event_loop()
        self.reason = self.loop.create_future()  # why all end
        with explained(*address):
            self.listener = socket.create_server(address)

    def meet(self, hello):
        """Wait until all are there, then let them go on."""
        self.numbers = {name: hello[name] for name in NUMBERS}
        self.wanted = dict(zip(("server", "worker"), map(int, self.numbers.values())))
        threading.Thread(target=self.run, daemon=True).start()
        say(
            "scheduler: waiting at {}:{} for {} server(s) and {} worker(s)".format(
                *self.address, *self.wanted.values()
            )
        )
        wait(self.met, self.complain)

    def complain(self):
        """Say who is missing, here, at those that are there, and at those that come later."""
        if self.reason.done():  # it is over
            return
        note(self.waiting())
        self.overdue = True
        message = f"the scheduler is {self.waiting()}"
        self.loop.call_soon_threadsafe(lambda: self.send(note=message))

    def waiting(self):
        """For whom, in words."""
        text = " and ".join(f"{count} {role}(s)" for role, count in self.missing().items())
        return f"still waiting for {text}"

    def missing(self):
        """How many there should be of each role, and are not."""
        roles = [peer.role for peer in self.members]
        left = {role: count - roles.count(role) for role, count in self.wanted.items()}
        return {role: count for role, count in left.items() if count}

    def tell(self, error):
        """Let the others know why this process ends."""
        self.loop.call_soon_threadsafe(self.end_all, f"the scheduler: {error}")
        self.parted.wait(LAST_WORDS_WITHIN + 1)

    # --- the thread that listens ---------------------------------------------------------------

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self.note_trouble)
        self.loop.run_until_complete(self.listen())

    def note_trouble(self, loop, context):
        """Say once what keeps others from connecting, such as the limit of open files."""
        note(f"{context['message']} ({context.get('exception')})")
        loop.set_exception_handler(lambda *args: None)

    async def listen(self):
        """Hear all others until one of them, or this process, has a reason to end."""
        self.server = await asyncio.start_server(
            self.hear, sock=self.listener, limit=MAX_LINE, backlog=ACCEPTED_AT_ONCE
        )
        self.listener.listen(QUEUE)
        reason = await self.reason
        told = not ending.acquire(blocking=False)  # by the main thread, which ends the process
        if not told:
            fail(reason)
        await self.part(reason, to_come=not told)
        self.parted.set()
        if not told:
            os._exit(1)

    async def hear(self, reader, writer):
        """Hear a process until it goes, or turns out not to be one of ours."""
        peer = None
        try:
            hello = await self.first_line(reader, writer)
            peer = self.welcome(writer, hello["process"], **hello["hello"])
            while peer and not reader.at_eof():
                self.take(peer, json.loads(await reader.readline()))
        except NOT_OURS:
            pass
        writer.close()
        if peer:
            self.present.remove(peer)
            if not self.leaving:
                self.end_all(f"{peer.name} has ended or cannot be reached: {AGAIN}")

    async def first_line(self, reader, writer):
        """What a process says of itself; one that does not is a stranger, and closed soon."""
        keep_alive(writer.get_extra_info("socket"))
        self.strangers.append(writer)
        if len(self.strangers) > self.max_strangers:
            self.strangers.pop(0).close()
        try:
            return json.loads(await asyncio.wait_for(reader.readline(), HELLO_WITHIN))
        except asyncio.TimeoutError as error:
            raise ValueError("no hello") from error
        finally:
            if writer in self.strangers:
                self.strangers.remove(writer)

    def welcome(self, writer, process, role, flags, **numbers):
        """Take a process in, unless it has no place here or was started otherwise."""
        peer = Peer(writer, role, process, dict(flags))
        numbers = {name: numbers[name] for name in NUMBERS}
        if role not in self.missing():
            there = self.wanted[role]
            peer.send(
                error=f"all {there} {role}(s) that DMLC_NUM_{role.upper()} asks for "
                "are there already: start one less, or all again with a higher number"
            )
            return None
        self.members.append(peer)
        self.present.append(peer)
        if self.reason.done():
            peer.send(error=self.reason.result())
            return peer
        for name in NUMBERS:
            self.require_equal(name, self.numbers[name], "the scheduler", numbers[name], peer.name)
        if role == "worker":
            first = next(member for member in self.members if member.role == "worker")
            for name in {**first.flags, **peer.flags}:
                value, other = (one.flags.get(name, "not given") for one in (first, peer))
                self.require_equal(name, value, first.name, other, peer.name)
        if self.reason.done():
            return peer
        if not self.missing():
            self.let_all_go_on()
        elif self.overdue:
            peer.send(note=f"the scheduler is {self.waiting()}")
        return peer

    def require_equal(self, name, value, where, other, elsewhere):
        if value != other:
            self.end_all(
                f"{name} is {value} at {where}, but {other} at {elsewhere}: start all processes "
                "with the same flags and DMLC_* variables"
            )

    def let_all_go_on(self):
        """Tell everybody a port that MXNet can have."""
        self.reserved = socket.socket()  # bound here so that nobody else takes it meanwhile
        self.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reserved.bind((self.address[0], 0))
        port = self.reserved.getsockname()[1]
        os.environ["DMLC_PS_ROOT_PORT"] = str(port)
        self.send(port=port)
        self.met.set()

    def take(self, peer, message):
        if "name" in message:
            peer.name = message["name"]
        elif "leave" in message and not self.leaving:
            self.leaving = True
            self.send(leave=True)
            leave_in_time()
        elif "error" in message:
            self.end_all(f"{peer.name}: {message['error']}")

    def send(self, **message):
        for peer in self.present:
            peer.send(**message)

    def end_all(self, reason):
        """End all processes, for the first reason that there is."""
        if not self.reason.done():
            self.reason.set_result(reason)

    async def part(self, reason, to_come):
        """Tell the members why they end, and wait until they have ended; also, where wanted, those
        that are still `to_come` and would wait for this scheduler for ever."""
        self.send(error=reason)
        until = self.loop.time() + LAST_WORDS_WITHIN
        while (self.present or (to_come and self.missing())) and self.loop.time() < until:
            await asyncio.sleep(0.1)

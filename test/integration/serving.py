# SPDX-License-Identifier: MIT
"""What the tests of `llrph serve` share: a server that may die, in a runtime folder of its own, a
service compiled with its faults, and a UDP client that repeats itself until it is answered."""
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import llrp
from llrp import RETRY
from server import ROOT, address_of, command

LLRPH = command()
PATIENCE = 30  # seconds; only a hang meets it
REPEAT = 0.2   # seconds without an answer


class Client(llrp.Udp):
    """One socket with one session. The server may be dead at any moment: nothing is sent once."""

    def __init__(self, uri):
        super().__init__(address_of(uri))
        self.sequence = 0
        self.terms = self.open_again()

    def receive_one(self, wanted, seconds):
        """The next frame that wanted does not turn into None, as it made it; None: none came."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                found = wanted(self.receive(max(until - time.monotonic(), 0.001)))
            except (TimeoutError, ConnectionRefusedError):
                continue
            if found is not None:
                return found
        return None

    def exchange(self, first, again, wanted):
        """Sends first, then again and again, until the answer comes."""
        until = time.monotonic() + PATIENCE
        data = first
        while time.monotonic() < until:
            try:
                self.send(data)
            except ConnectionRefusedError:
                pass
            found = self.receive_one(wanted, REPEAT)
            if found is not None:
                return found
            data = again
        raise AssertionError("no answer")

    def open_again(self):
        """A new session; its terms."""
        nonce = llrp.new_nonce()

        def welcome(status):
            def wanted(frame):
                if frame.kind != llrp.WELCOME:
                    return None
                found = llrp.as_welcome(frame)
                return found if (found.status, found.nonce) == (status, nonce) else None
            return wanted

        hello = llrp.hello(nonce)
        hello = llrp.hello(nonce, self.exchange(hello, hello, welcome(401)).cookie)
        return llrp.terms_of(self.exchange(hello, hello, welcome(200)), nonce)

    def reply_to(self, sequence):
        def wanted(frame):
            if frame.kind == llrp.REPLY and frame.sequence == sequence:
                return llrp.as_reply(frame)
            return None
        return wanted

    def begin(self, method, payload=b""):
        """Sends a request once; its sequence."""
        self.sequence += 1
        self.send(llrp.request(self.terms.id, self.sequence, method, payload))
        return self.sequence

    def answer(self, sequence, seconds=PATIENCE):
        """The reply that comes without being asked for again; None: it did not."""
        return self.receive_one(self.reply_to(sequence), seconds)

    def repeat(self, sequence, method, payload=b""):
        again = llrp.request(self.terms.id, sequence, method, payload, RETRY)
        return self.exchange(again, again, self.reply_to(sequence))

    def call(self, method, payload=b""):
        self.sequence += 1
        first, again = (llrp.request(self.terms.id, self.sequence, method, payload, flags)
                        for flags in (0, RETRY))
        return self.exchange(first, again, self.reply_to(self.sequence))


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


def is_alive(pid):
    """Not even a zombie is left to run."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, what, seconds=PATIENCE):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.005)


class Server:
    """`llrph serve` with these words; ready when made, unless told not to wait."""

    def __init__(self, folder, *words, ready=True, **popen):
        self.log_path = os.path.join(folder, f"log-{time.monotonic_ns()}")
        env = dict(os.environ, LLRPH_RUNTIME_DIR=folder)
        for name in ("LISTEN_PID", "LISTEN_FDS"):
            env.pop(name, None)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([LLRPH, "serve", *words], stdout=subprocess.PIPE,
                                            stderr=log, bufsize=0,
                                            env=popen.pop("env", env), **popen)
        self.uris = []
        if ready:
            self.wait_ready(sum(word == "--listen" for word in words) or 1)

    def wait_ready(self, count):
        while len(self.uris) < count:
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                raise AssertionError("not ready: " + self.log())
            line = self.process.stdout.readline().decode()
            match = re.fullmatch(r"llrph: ready (\S+)\n", line)
            if match is None:
                raise AssertionError(f"'{line}' instead of a ready line: " + self.log())
            self.uris.append(match[1])

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def workers(self):
        return children(self.process.pid)

    def wait_log(self, part):
        wait_until(lambda: part in self.log(), f"'{part}' in the log")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE)

    def stop(self):
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self):
        """For clean-up: whatever happened, nothing of it is left."""
        workers = self.workers()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.stdout.close()


class ServeTest(unittest.TestCase):
    """A runtime folder for each test, and all its processes ended after it."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="llrph-serve-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder, True)

    def serve(self, *words, **popen):
        server = Server(self.folder, *words, **popen)
        self.addCleanup(server.end)
        return server

    def client(self, uri):
        client = Client(uri)
        self.addCleanup(client.close)
        return client

    def left(self):
        """What lies in the runtime folder, logs apart."""
        return sorted(name for name in os.listdir(self.folder)
                      if not name.startswith(("log-", "service")))

    def compile(self, *flags, source=os.path.join(ROOT, "test", "support", "fragile_service.c")):
        """A shared object of a source with these flags; its path."""
        path = os.path.join(self.folder, f"service-{time.monotonic_ns()}.so")
        subprocess.run([*os.environ.get("CC", "cc").split(), "-shared", "-fPIC", "-O1", "-Wall",
                        "-Werror", "-I", os.path.join(ROOT, "include"), *flags, "-o", path, source],
                       check=True)
        return path

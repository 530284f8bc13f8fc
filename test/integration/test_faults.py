#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Signals during every syscall, and syscalls that fail for a while: strace makes every nth call of
the server, then of the client, fail, and requests over every transport are answered all the same.
What the kernel would never say is not injected: that a stream has nothing or no room where it has,
for then no edge would ever follow."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from server import ECHO, Server, command, skip

TIMEOUT_MS = "20000"  # of a request: nothing here may take it, but a machine may stop
REQUESTS = 150

# What each server process, attached to while it runs, is told instead of what it asked for.
EVERY = ("accept4,accept,recvmsg,recvmmsg,recvfrom,sendto,sendmsg,sendmmsg,read,write,epoll_wait,"
         "epoll_pwait,poll,ppoll,wait4,waitid")
SERVER_FAULTS = (
    ("recvmsg,recvmmsg", "EINTR"),
    ("recvmsg,recvmmsg", "EAGAIN"),
    ("recvmsg,recvmmsg", "ENOMEM"),
    ("recvfrom", "EINTR"),
    ("recvfrom", "ENOMEM"),
    ("sendto,sendmsg,sendmmsg", "EINTR"),
    ("sendto,sendmsg,sendmmsg", "ENOBUFS"),
    ("sendto,sendmsg,sendmmsg", "ENOMEM"),
    ("epoll_wait,epoll_pwait,poll,ppoll", "EINTR"),
    ("accept4,accept", "EINTR"),
    ("accept4,accept", "ENOMEM"),
    ("accept4,accept", "ECONNABORTED"),
    ("read,write", "EINTR"),
    (EVERY, "EINTR"),
)
CLIENT_FAULTS = (
    ("recvmsg,recvmmsg,recvfrom", "EINTR"),
    ("recvmsg,recvmmsg,recvfrom", "ENOMEM"),
    ("sendto,sendmsg,sendmmsg", "EINTR"),
    ("sendto,sendmsg,sendmmsg", "ENOBUFS"),
    ("epoll_wait,epoll_pwait,poll,ppoll", "EINTR"),
    (EVERY.replace("read,write,", ""), "EINTR"),
)


def require_strace():
    if shutil.which("strace") is None:
        skip("strace is not installed")
    done = subprocess.run(["strace", "-o", "/dev/null", "-e", "inject=getppid:error=EINTR", "true"],
                          text=True, stderr=subprocess.PIPE)
    if done.returncode != 0:
        skip(f"strace may not trace here: {done.stderr.strip()}")


def inject(calls, error, when="2+7"):
    return ("-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


class Attached:
    """strace on running processes, in a with statement; injected counts what it made fail."""

    def __init__(self, pids, *words):
        self.pids = pids
        self.words = words
        self.injected = 0

    def __enter__(self):
        with tempfile.NamedTemporaryFile(prefix="llrph-test-", delete=False) as file:
            self.log = file.name
        pids = [word for pid in self.pids for word in ("-p", str(pid))]
        self.process = subprocess.Popen(["strace", "-f", "-o", self.log, *self.words, *pids], text=True,
                                        stderr=subprocess.PIPE)
        for pid in self.pids:  # a line for each that it has attached to
            line = self.process.stderr.readline()
            if "attached" not in line:
                raise AssertionError(f"strace -p {pid}: {line}")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)
        with open(self.log, encoding="utf-8", errors="replace") as file:
            self.injected = file.read().count("(INJECTED)")
        os.unlink(self.log)


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--listen", f"shm:faults-{os.getpid()}", "--listen", "udp:127.0.0.1:0",
                            "--listen", "tcp:127.0.0.1:0", "--idle", "park", "--service", "echo", listens=3)
        cls.supervisor = cls.server.process.pid
        # What leaks can't be looked for under strace.
        options = os.environ.get("ASAN_OPTIONS", "")
        cls.traced = dict(cls.server.environment, ASAN_OPTIONS=f"{options}:detect_leaks=0".lstrip(":"))

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def processes(self):
        return [self.supervisor, *children(self.supervisor)]

    def bench_words(self, uri, outstanding):
        return [command(), "bench", uri, "--requests", str(REQUESTS), "--warmup", "10", "--timeout",
                TIMEOUT_MS, "--outstanding", str(outstanding), "--idle", "park", "--json"]

    def assert_all_answered(self, done, uri):
        self.assertEqual(done.returncode, 0, f"{uri}: {done.stderr}{done.stdout}")
        report = json.loads(done.stdout)
        self.assertEqual((report["requests"], report["errors"]), (REQUESTS, {}), uri)

    def bench_everywhere(self, *before):
        for uri in self.server.uris:
            for outstanding in (1, 16):
                done = subprocess.run([*before, *self.bench_words(uri, outstanding)], env=self.traced,
                                      text=True, capture_output=True, timeout=60)
                self.assert_all_answered(done, uri)

    def call_everywhere(self, *before):
        for uri in self.server.uris:
            done = subprocess.run([*before, command(), "call", uri, ECHO, "--text", "hello", "--timeout",
                                   TIMEOUT_MS], env=self.traced, text=True, capture_output=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, "hello"), f"{uri}: {done.stderr}")

    def test_server(self):
        workers = children(self.supervisor)
        for calls, error in SERVER_FAULTS:
            with self.subTest(calls=calls, error=error):
                with Attached(self.processes(), *inject(calls, error)) as strace:
                    self.bench_everywhere()
                    self.call_everywhere()
                self.assertGreater(strace.injected, 0)
                self.assertEqual(children(self.supervisor), workers, "a worker died")

    def run_client(self, *words):
        with tempfile.NamedTemporaryFile(prefix="llrph-test-") as log:
            before = ("strace", "-f", "-o", log.name, *words)
            self.bench_everywhere(*before)
            self.call_everywhere(*before)

    def test_client(self):
        for calls, error in CLIENT_FAULTS:
            with self.subTest(calls=calls, error=error):
                self.run_client(*inject(calls, error))

    def test_client_reads_and_writes(self):
        # Of the reads not the first, which are the loader's; of the writes not the last, which is
        # the report's.
        self.run_client(*inject("read", "EINTR", "30+7"))
        self.run_client(*inject("write", "EINTR", "2..20+3"))

    def storm(self, pids, signals):
        """Signals in turn, without pause, until the returned function is called."""
        over = threading.Event()

        def send():
            sent = 0
            while not over.is_set():
                for pid in pids:
                    try:
                        os.kill(pid, signals[sent % len(signals)])
                    except ProcessLookupError:
                        return
                sent += 1
                time.sleep(0.0002)

        thread = threading.Thread(target=send)
        thread.start()

        def end():
            over.set()
            thread.join()
        return end

    def test_signal_storm_at_server(self):
        workers = children(self.supervisor)
        end = self.storm(self.processes(), (signal.SIGHUP, signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH))
        try:
            for _ in range(3):
                self.bench_everywhere()
                self.call_everywhere()
        finally:
            end()
        self.assertEqual(children(self.supervisor), workers, "a worker died")

    def test_signal_storm_at_both(self):
        # Stopped and continued, which interrupts even who handles no signals.
        for uri in self.server.uris:
            client = subprocess.Popen(self.bench_words(uri, 4)[:3] + ["--duration", "1", "--timeout", TIMEOUT_MS,
                                      "--idle", "park", "--json"], env=self.server.environment, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            end = self.storm([client.pid, *self.processes()],
                             (signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD))
            try:
                out, err = client.communicate(timeout=60)
            finally:
                end()
                for pid in self.processes():
                    os.kill(pid, signal.SIGCONT)
            self.assertEqual(client.returncode, 0, err)
            self.assertEqual(json.loads(out)["errors"], {}, uri)


if __name__ == "__main__":
    require_strace()
    unittest.main()

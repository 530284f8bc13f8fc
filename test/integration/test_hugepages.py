#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hugepages for lanes where there are some, and the limits on memory that a server meets. What is said
where there are none stands in test_serve_errors.py."""
import os
import resource
import subprocess
import unittest

from server import skip
from serving import LLRPH, ServeTest, wait_until

COUNT = "/proc/sys/vm/nr_hugepages"
PAGES = 64  # of 2 MiB: a few lanes
ECHO = "llrph.Echo/Echo"


def read(path):
    with open(path) as file:
        return file.read()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


class Hugepages(ServeTest):
    def reserve(self):
        """Hugepages until the test ends; skipped where the kernel has none to give."""
        before = int(read(COUNT))
        try:
            write(COUNT, str(before + PAGES))
        except OSError as error:
            self.skipTest(f"hugepages can't be reserved: {error}")
        self.addCleanup(write, COUNT, str(before))
        if int(read(COUNT)) < before + PAGES // 2:
            self.skipTest("this machine has no memory to reserve as hugepages")

    def free(self):
        for line in read("/proc/meminfo").splitlines():
            if line.startswith("HugePages_Free"):
                return int(line.split()[1])
        return 0

    def call(self, uri, text):
        return subprocess.run([LLRPH, "call", uri, ECHO, "--text", text, "--timeout", "20000"],
                              env=dict(os.environ, LLRPH_RUNTIME_DIR=self.folder),
                              capture_output=True, text=True, timeout=60)

    def test_lanes_of_hugepages(self):
        self.reserve()
        server = self.serve("--listen", "shm:huge", "--service", "echo", "--hugepages")
        before = self.free()
        for i in range(20):  # more than there are pages for at once
            done = self.call("shm:huge", f"text {i}")
            self.assertEqual(done.stdout, f"text {i}", done.stderr)
        # The busy lane is of hugepages indeed, while it is there.
        with subprocess.Popen([LLRPH, "bench", "shm:huge", "--requests", "100000000", "--json"],
                              env=dict(os.environ, LLRPH_RUNTIME_DIR=self.folder),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bench:
            wait_until(lambda: self.free() < before, "a lane takes hugepages")
            bench.kill()
        wait_until(lambda: self.free() == before, "the lane's hugepages come back")
        self.assertEqual(server.stop(), 0)


class Limits(ServeTest):
    def test_no_memory_may_be_locked(self):
        """Nothing is locked, so a limit on it is none to us."""
        server = self.serve("--listen", "shm:locked", "--listen", "udp:127.0.0.1:0", "--service", "echo",
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)))
        done = subprocess.run([LLRPH, "call", "shm:locked", ECHO, "--text", "x", "--timeout", "20000"],
                              env=dict(os.environ, LLRPH_RUNTIME_DIR=self.folder),
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stdout, "x", done.stderr)
        self.assertEqual(self.client(server.uris[1]).call(ECHO, b"x").status, 200)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    if not os.path.exists(COUNT):
        skip("this kernel has no hugepages")
    unittest.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo: the whole of it, interrupted, and with a feed that was tampered with."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import server

DEMO = os.path.join(server.ROOT, "demo", "demo.py")


class Demo(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="llrph-test-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.environment = dict(os.environ, TMPDIR=self.folder)

    def start(self, script=DEMO):
        return subprocess.Popen([sys.executable, script, server.command()], env=self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def left(self):
        return [name for name in os.listdir(self.folder) if name.startswith("llrph-demo-")]

    def test_whole(self):
        process = self.start()
        output, _ = process.communicate()
        self.assertEqual(process.returncode, 0, output)
        self.assertEqual(output.count("books: as expected"), 6, output)
        self.assertEqual(self.left(), [])

    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start()
            process.stdout.readline()
            time.sleep(0.5)
            process.send_signal(number)
            process.communicate(timeout=60)
            self.assertNotEqual(process.returncode, 0)
            self.assertEqual(self.left(), [])

    def test_tampered(self):
        # A demo that can't fail shows nothing: a price of the sample is changed.
        for name in ("demo", "data"):
            shutil.copytree(os.path.join(server.ROOT, name), os.path.join(self.folder, name))
        feed = os.path.join(self.folder, "data", "itch", "sample.itch")
        with open(feed, "r+b") as file:
            data = bytearray(file.read())
            at = data.index(b"A", 2)
            while int.from_bytes(data[at - 2:at], "big") != 36:
                at = data.index(b"A", at + 1)
            data[at + 35] ^= 1
            file.seek(0)
            file.write(data)
        process = self.start(os.path.join(self.folder, "demo", "demo.py"))
        for line in process.stdout:
            if "WRONG" in line:
                break
        else:
            self.fail("nobody noticed")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)

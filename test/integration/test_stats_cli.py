# SPDX-License-Identifier: MIT
"""llrph stats, llrph --help and what the command says to words that make no sense."""
import json
import os
import signal
import subprocess
import tempfile
import unittest

from server import ECHO, Server, command

WORKERS = 2


def llrph(*words, folder, timeout=60):
    return subprocess.run([command(), *words], env=dict(os.environ, LLRPH_RUNTIME_DIR=folder), text=True,
                          capture_output=True, timeout=timeout)


class Words(unittest.TestCase):
    """No server is needed to be told that one typed nonsense."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="llrph-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_llrph(self, *words):
        return llrph(*words, folder=self.folder)

    def assert_complaint(self, words, code, *parts):
        """One line on stderr that says what to do, nothing on stdout, this exit status."""
        with self.subTest(words=words):
            done = self.run_llrph(*words)
            self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            for part in ("llrph", *parts):
                self.assertIn(part, done.stderr)

    def test_help_everywhere(self):
        for words in (("--help",), ("-h",), ("help",)):
            done = self.run_llrph(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for name in ("bench", "stats", "serve"):
                self.assertIn(f"\n  {name} ", done.stdout)
        for name in ("bench", "stats", "serve"):
            helps = [self.run_llrph(*words).stdout for words in ((name, "--help"), ("help", name))]
            self.assertIn(f"usage: llrph {name} ", helps[0])
            self.assertEqual(*helps)

    def test_version(self):
        done = self.run_llrph("--version")
        self.assertRegex(done.stdout, r"^llrph \d+\.\d+\.\d+\n$")
        self.assertEqual(done.returncode, 0)

    def test_no_command(self):
        done = self.run_llrph()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("usage", done.stderr)

    def test_nonsense(self):
        for words, parts in (
                (("stast",), ["'stast'", "did you mean 'stats'"]),
                (("bnech", "shm:x"), ["did you mean 'bench'"]),
                (("help", "stat"), ["did you mean 'stats'"]),
                (("xyzzy",), ["unknown command"]),
                (("stats",), ["give its NAME"]),
                (("stats", "a", "b"), ["'b' is too much"]),
                (("stats", "--jsno", "a"), ["did you mean --json"]),
                (("stats", "--json=1", "a"), ["--json takes no argument"]),
                (("stats", "--watch", "a"), ["--watch 'a' is no time"]),
                (("stats", "a", "--watch"), ["--watch needs an argument"]),
                (("stats", "a", "--watch", "0"), ["out of range"]),
                (("stats", "-q", "a"), ["unknown option -q"]),
        ):
            self.assert_complaint(words, 2, "--help", *parts)

    def test_no_page(self):
        self.assert_complaint(("stats", "nobody"), 1, "nobody.stats", "not there")
        self.assert_complaint(("stats", "../etc"), 1, "'../etc' is no name")

    def test_pages_that_are_none(self):
        for name, content in (("empty", b""), ("short", b"LLRSTATS"), ("text", b"x" * 5000),
                              ("head", b"LLRSTATS\x01\0\0\0" + bytes(5000))):
            with open(os.path.join(self.folder, f"{name}.stats"), "wb") as page:
                page.write(content)
            for words in (("stats", name), ("stats", name, "--json")):
                self.assert_complaint(words, 1, f"{name}.stats")

    def test_no_folder(self):
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("LLRPH_RUNTIME_DIR", "XDG_RUNTIME_DIR")}
        environment["LLRPH_RUNTIME_DIR"] = os.path.join(self.folder, "a", "b")
        done = subprocess.run([command(), "stats", "x"], env=environment, text=True, capture_output=True,
                              timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("LLRPH_RUNTIME_DIR", done.stderr)

    def test_full_disk(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        server = Server("--listen", "udp:127.0.0.1:0", "--service", "echo", listens=1)
        self.addCleanup(server.stop)
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([command(), "stats", server.name, "--json"], env=server.environment,
                                  stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("can't write", done.stderr)


class Page(unittest.TestCase):
    def setUp(self):
        self.server = Server("--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0",
                             "--service", "echo", "--workers", str(WORKERS), listens=2)
        self.stopped = False
        self.addCleanup(lambda: self.stopped or self.server.stop())

    def bench(self, uri, requests):
        done = llrph("bench", uri, "--requests", str(requests), "--warmup", "0", "--json",
                     folder=self.server.folder, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)

    def stats(self):
        return json.loads(self.server.stats())

    def test_it_says_what_happened(self):
        before = self.stats()
        self.assertEqual(before["total"]["counters"]["executed"], 0)
        for uri in self.server.uris:
            self.bench(uri, 300)
        after = self.stats()
        self.assertEqual((after["name"], after["live"], after["pid"]),
                         (self.server.name, True, self.server.process.pid))
        self.assertGreater(after["up_ns"], before["up_ns"])
        total = after["total"]
        self.assertEqual(total["counters"]["executed"], 600)
        self.assertEqual(total["counters"]["status_200"], 600)
        self.assertEqual(len(after["workers"]), WORKERS)
        for name, value in total["counters"].items():
            parts = [worker["counters"][name] for worker in after["workers"]]
            if not name.startswith(("turns", "sleeps")):  # these go on while we look
                self.assertEqual(value, sum(parts), name)
        self.assertEqual([listener["uri"] for listener in total["listeners"]], self.server.uris)
        for listener in total["listeners"]:
            self.assertGreater(listener["rx_bytes"], 300 * 64)
        echo, = [method for method in total["methods"] if method["name"] == ECHO]
        self.assertEqual((echo["requests"], echo["failed"]), (600, 0))
        for name in ("latency_ns", "service_ns"):
            histogram = echo[name]
            self.assertEqual(histogram["count"], 600)
            self.assertEqual(sum(count for _, _, count in histogram["buckets"]), 600)
            values = [histogram[key] for key in ("min", "p50", "p90", "p99", "p99.9", "max")]
            self.assertEqual(values, sorted(values))

    def test_people_see_it_too(self):
        self.bench(self.server.uris[1], 100)
        text = llrph("stats", self.server.name, folder=self.server.folder).stdout
        self.assertIn(f"server {self.server.name}: running, pid {self.server.process.pid}", text)
        self.assertRegex(text, r"worker 0 +worker 1")
        self.assertIn(f"method {ECHO}", text)
        self.assertRegex(text, r"latency_ns +p50 [\d.]+  p99 [\d.]+  p99.9 [\d.]+  max [\d.]+ us")
        self.assertNotIn("reject_magic", text)
        everything = llrph("stats", self.server.name, "--all", folder=self.server.folder).stdout
        self.assertIn("reject_magic", everything)

    def test_the_page_outlives_its_server(self):
        self.bench(self.server.uris[0], 100)
        folder = self.server.folder
        self.server.terminate()
        self.assertEqual(self.server.process.wait(60), 0)
        page = self.stats()
        self.assertEqual((page["live"], page["up_ns"]), (False, None))
        self.assertEqual(page["total"]["counters"]["executed"], 100)
        self.assertIn("not running any more", llrph("stats", self.server.name, folder=folder).stdout)
        self.assertEqual(os.listdir(folder), [f"{self.server.name}.stats"])
        self.stopped = True
        self.server.wait()

    def test_a_second_server_of_that_name_is_refused(self):
        done = llrph("serve", "--listen", "udp:127.0.0.1:0", "--service", "echo", "--name", self.server.name,
                     folder=self.server.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"pid {self.server.process.pid}", done.stderr)
        self.assertIn("--name", done.stderr)
        self.assertTrue(self.stats()["live"])

    def test_watch_ends_with_a_signal(self):
        watch = subprocess.Popen([command(), "stats", self.server.name, "--watch", "0.1"],
                                 env=self.server.environment, text=True, stdout=subprocess.PIPE)
        seen = 0
        for line in watch.stdout:
            seen += line.startswith("server ")
            if seen == 3:
                break
        watch.send_signal(signal.SIGINT)
        watch.stdout.close()
        self.assertEqual(watch.wait(60), -signal.SIGINT)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What can't be served: one line that names the mend, exit status 2 where the words make no sense
and 1 where the world is in the way."""
import os
import resource
import socket
import subprocess
import unittest

from serving import LLRPH, ServeTest

UDP = ("--listen", "udp:127.0.0.1:0")
ECHO = ("--service", "echo")
with open(LLRPH, "rb") as command_file:
    SANITIZED = b"__asan_init" in command_file.read()
CPUS = os.sysconf("SC_NPROCESSORS_CONF")

# words, what the line must say
NONSENSE = (
    ((), "no --service"),
    (ECHO, "no --listen"),
    (UDP, "no --service"),
    ((*UDP, *ECHO, "word"), "'word'"),
    ((*UDP, *ECHO, "--lisen", "shm:a"), "--listen"),
    ((*UDP, *ECHO, "--workers"), "--workers"),
    ((*UDP, *ECHO, "--workers", "0"), "1 to 64"),
    ((*UDP, *ECHO, "--workers", "two"), "not a whole number"),
    ((*UDP, *ECHO, "--workers", "1", "--workers", "2"), "given twice"),
    ((*UDP, *ECHO, "--cpus", str(CPUS)), f"0 to {CPUS - 1}"),
    ((*UDP, *ECHO, "--cpus", "0,0"), "cpu 0 twice"),
    ((*UDP, *ECHO, "--cpus", "0", "--workers", "2"), "--cpus names 1"),
    ((*UDP, *ECHO, "--idle", "doze"), "spin or park"),
    ((*UDP, *ECHO, "--name", "a/b"), "is no name"),
    ((*UDP, *ECHO, "--allow", "10.0.0.0/40"), "10.0.0.0/40"),
    ((*UDP, *ECHO, "--window", "2000"), "1 to 1024"),
    ((*UDP, *ECHO, "--max-message", "1X"), "K, M or G"),
    ((*UDP, *ECHO, "--shm-mode", "9"), "octal"),
    ((*UDP, *ECHO, "--shm-uid", "me"), "user ids"),
    ((*UDP, *ECHO, "--shm-trust", "few"), "own, all or none"),
    ((*UDP, *ECHO, "--hugepages=maybe"), "--hugepages"),
    ((*UDP, *ECHO, "--config", "/nonexistent/serve.conf"), "/nonexistent/serve.conf: No such"),
    (("--listen", "ucp:1.2.3.4:5", *ECHO), "shm:NAME"),
    (("--listen", "udp:1.2.3.4", *ECHO), "HOST:PORT"),
    (("--listen", "shm:a", "--listen", "shm:a", *ECHO), "given twice"),
    ((*UDP, "--service", "ecco"), "there is echo"),
    ((*UDP, "--service", "./none.so"), "No such file"),
    ((*UDP, "--service", "/etc/passwd"), "can't be loaded"),
    ((*UDP, *ECHO, *ECHO), "--service echo is given twice"),
    ((*UDP, "--service", "book", "--workers", "2"), "--workers 1"),
)


class Errors(ServeTest):
    def refuse(self, status, part, *words, command=(), **run):
        env = dict(os.environ, LLRPH_RUNTIME_DIR=run.pop("folder", self.folder))
        done = subprocess.run([*command, LLRPH, "serve", *words], capture_output=True, text=True,
                              env=env, timeout=60, **run)
        self.assertEqual(done.stdout, "", words)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("llrph serve: "), done.stderr)
        self.assertIn(part, done.stderr)
        self.assertEqual(done.returncode, status, done.stderr)

    def test_nonsense(self):
        for words, part in NONSENSE:
            with self.subTest(words):
                self.refuse(2, part, *words)
        self.assertEqual(self.left(), [])

    def test_broken_files(self):
        path = os.path.join(self.folder, "log-serve.conf")
        for text, part in (("[server]\nlisten = shm:a\nservce = echo\n",
                            f"{path}:3: no option 'servce': did you mean service?"),
                           ("[serv]\n", f"{path}:1: no section"),
                           ("listen = shm:a\n", f"{path}:1: "),
                           ("[server]\nworkers = many\n", f"{path}:2: workers 'many'"),
                           ("[server]\ngarbage\n", f"{path}:2: ")):
            with open(path, "w") as file:
                file.write(text)
            with self.subTest(text):
                self.refuse(2, part, "--config", path)
        self.refuse(2, "is it a file?", "--config", self.folder)

    def test_services_that_are_none(self):
        nothing = os.path.join(self.folder, "service.c")
        with open(nothing, "w") as file:
            file.write("int nothing;\n")
        for path, part in ((self.compile(source=nothing), "exports no table"),
                           (self.compile("-DABI=99"), "ABI 99"),
                           (self.compile("-DSTATE=7"), "state_kind 7")):
            self.refuse(2, part, *UDP, "--service", path)
        self.refuse(2, "--workers 1", *UDP, "--workers", "2", "--service",
                    self.compile("-DSTATE=LLRPH_STATE_SINGLE"))

    def test_port_taken(self):
        for scheme, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
            with socket.socket(socket.AF_INET, kind) as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                taken.bind(("127.0.0.1", 0))
                if kind == socket.SOCK_STREAM:
                    taken.listen()
                uri = f"{scheme}:127.0.0.1:{taken.getsockname()[1]}"
                for workers in ("1", "2"):
                    self.refuse(1, f"{uri}: address in use", "--listen", uri, *ECHO, "--workers",
                                workers)
        self.assertEqual(self.left(), [])

    def test_no_such_address(self):
        self.refuse(1, "no such address", "--listen", "udp:192.0.2.1:7000", *ECHO)

    def test_name_taken(self):
        server = self.serve(*UDP, "--listen", "shm:taken", *ECHO, "--name", "taken")
        self.refuse(1, "taken", *UDP, *ECHO, "--name", "taken")
        self.refuse(1, "taken", "--listen", "shm:taken", *ECHO, "--name", "other")
        self.assertEqual(self.client(server.uris[0]).call("llrph.Echo/Echo", b"x").status, 200)
        self.assertIn("taken.sock", self.left())
        self.assertEqual(server.stop(), 0)

    @unittest.skipIf(os.geteuid() != 0, "only root can become nobody")
    def test_folder_not_writable(self):
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        inner = os.path.join(self.folder, "log-inner")
        os.mkdir(inner, 0o755)
        self.refuse(1, inner, *UDP, *ECHO, command=nobody, folder=inner)
        os.chmod(inner, 0)
        self.refuse(1, inner, *UDP, *ECHO, command=nobody, folder=inner)

    def test_no_folder(self):
        self.refuse(1, "/nonexistent/folder", *UDP, *ECHO,
                    folder="/nonexistent/folder")

    def test_no_hugepages(self):
        with open("/proc/sys/vm/nr_hugepages") as file:
            if int(file.read()) != 0:
                self.skipTest("this machine has hugepages reserved")
        self.refuse(1, "hugepages", "--listen", "shm:huge", *ECHO, "--hugepages")
        self.assertNotIn("huge.sock", self.left())

    def test_few_descriptors(self):
        def limit(count):
            return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

        server = self.serve(*UDP, "--listen", "tcp:127.0.0.1:0", "--listen", "shm:few", *ECHO,
                            preexec_fn=limit(32))
        self.assertIn("llrph: fallback: 32 descriptors", server.log())
        self.assertIn("ulimit -n", server.log())
        self.assertEqual(self.client(server.uris[0]).call("llrph.Echo/Echo", b"x").status, 200)
        os.kill(server.workers()[0], 9)
        self.assertEqual(self.client(server.uris[0]).call("llrph.Echo/Echo", b"x").status, 200)
        self.assertEqual(server.stop(), 0)
        for count in range(4, 16):  # it serves or says that it can't, and nothing hangs
            server = self.serve(*UDP, "--listen", "shm:few", *ECHO, ready=False,
                                preexec_fn=limit(count))
            line = server.process.stdout.readline()
            if line == b"":
                self.assertEqual(server.wait(), 1)
                self.assertRegex(server.log(), "descriptor|ulimit")
            else:
                self.assertEqual(server.stop(), 0)
            self.assertNotIn("few.sock", self.left())

    @unittest.skipIf(SANITIZED, "a sanitizer's own memory is above any limit")
    def test_little_memory(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (64 << 20, 64 << 20))

        self.refuse(1, "--session-memory", *UDP, *ECHO, "--session-memory", "1G",
                    preexec_fn=limit)

    @unittest.skipIf(os.geteuid() != 0, "only root can mount")
    def test_disk_full(self):
        inner = os.path.join(self.folder, "log-full")
        os.mkdir(inner)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", inner]).returncode:
            self.skipTest("no tmpfs can be mounted here")
        self.addCleanup(subprocess.run, ["umount", inner], check=True)
        self.refuse(1, inner, *UDP, *ECHO, folder=inner)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What strangers get: installs into a folder, then builds a client and a service that know nothing
but the installed headers and pkg-config, and runs them against the installed `llrph serve`, over
every transport; the client with the shared and with the static library."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(os.environ["LLRPH_SOURCE"])
BUILD = pathlib.Path(os.environ["LLRPH_BUILD"])
LINES_MAX = 40
METHOD = "example.Text/Upper"


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True,
                          timeout=60, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n"
                 f"{done.stdout}{done.stderr}")
    return done.stdout


class Installed:
    """The tree under folder, as a package's maintainer would see it."""

    def __init__(self, folder):
        self.root = folder / "root"
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", self.root)
        found = {path.name: path for path in self.root.rglob("*") if not path.is_dir()}
        for name in ("llrph", "libllrph.so", "libllrph.so.0", "libllrph.a", "llrph.pc", "client.h",
                     "engine.h", "error.h", "service.h"):
            if name not in found:
                sys.exit(f"not installed: {name}")
        self.command = found["llrph"]
        self.libraries = found["libllrph.so"].parent
        self.packages = found["llrph.pc"].parent
        self.env = {**os.environ, "LD_LIBRARY_PATH": str(self.libraries)}

    def flags(self, *options):
        """As pkg-config gives them, with the folder that stands for / before them."""
        env = {**os.environ, "PKG_CONFIG_PATH": str(self.packages)}
        words = run("pkg-config", *options, "llrph", env=env).split()
        prefix = run("pkg-config", "--variable=prefix", "llrph", env=env).strip()
        return [word.replace(prefix, f"{self.root}{prefix}", 1)
                if word.startswith((f"-I{prefix}", f"-L{prefix}")) else word for word in words]


def sanitizers():
    """An instrumented library needs programs that bring the sanitizer's own."""
    options = run("meson", "introspect", BUILD, "--buildoptions")
    for name in ("address,undefined", "thread"):
        if f'"value": "{name}"' in options:
            return [f"-fsanitize={name}"]
    return []


def build(installed, folder):
    compiler = [shutil.which("gcc") or "cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                *sanitizers()]
    sources = SOURCE / "test" / "install"
    for name in ("client.c", "service.c"):
        lines = len((sources / name).read_text().splitlines())
        if lines >= LINES_MAX:
            sys.exit(f"{name} has {lines} lines: it should show how little is needed")
    shared, static = folder / "client", folder / "client-static"
    run(*compiler, *installed.flags("--cflags"), sources / "client.c", "-o", shared,
        *installed.flags("--libs"))
    # The archive itself, and what pkg-config says that it needs.
    libs = [word if word != "-lllrph" else "-l:libllrph.a"
            for word in installed.flags("--static", "--libs")]
    run(*compiler, *installed.flags("--cflags"), sources / "client.c", "-o", static, *libs)
    # A service may be linked with the library or leave its names to whoever loads it.
    linked, bare = folder / "linked.so", folder / "bare.so"
    common = [*compiler, "-shared", "-fPIC", *installed.flags("--cflags"), sources / "service.c"]
    run(*common, "-o", linked, *installed.flags("--libs"))
    run(*common, "-o", bare)
    needed = run("readelf", "-d", shared)
    if "libllrph.so.0" not in needed:
        sys.exit(f"the client should need libllrph.so.0:\n{needed}")
    return [shared, static], [linked, bare]


class Server:
    """`llrph serve` with one service on three endpoints; what it prints goes to a file."""

    def __init__(self, installed, folder, service):
        self.name = f"install-{os.getpid()}"
        self.log = folder / f"{service.stem}.log"
        self.output = self.log.open("w")
        self.process = subprocess.Popen(
            [installed.command, "serve", "--name", self.name, "--idle", "park",
             "--listen", f"shm:{self.name}", "--listen", "tcp:127.0.0.1:0",
             "--listen", "udp:127.0.0.1:0", "--service", service],
            stdout=self.output, stderr=subprocess.STDOUT, env=installed.env)

    def endpoints(self):
        """The URIs that it says are ready, once all three are."""
        for _ in range(300):
            lines = re.findall(r"^llrph.*: ready (\S+)$", self.log.read_text(), flags=re.M)
            if len(lines) == 3:
                return lines
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"the server is not ready:\n{self.log.read_text()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            sys.exit(f"the server does not end:\n{self.log.read_text()}")
        self.output.close()
        if code != 0:
            sys.exit(f"the server ended with {code}:\n{self.log.read_text()}")


def main():
    if "LLRPH" not in os.environ:
        print("there is no command to install yet")
        return 77
    with tempfile.TemporaryDirectory(prefix="llrph-install-") as name:
        folder = pathlib.Path(name)
        os.environ["LLRPH_RUNTIME_DIR"] = str(folder / "run")
        installed = Installed(folder)
        clients, services = build(installed, folder)
        for service in services:
            server = Server(installed, folder, service)
            try:
                for uri in server.endpoints():
                    for client in clients:
                        reply = run(client, uri, METHOD, "hello, market", env=installed.env)
                        if reply != "200 HELLO, MARKET\n":
                            sys.exit(f"{client.name} {uri} {service.name}: {reply!r}")
                        print(f"ok: {client.name} {uri.split(':')[0]} {service.name}")
            except BaseException:
                server.process.kill()
                raise
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

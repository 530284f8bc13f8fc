#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every source file is built and every test is run: a file that meson.build does not list is found
here, not when somebody misses it."""
import json
import pathlib
import subprocess
import sys

# Built elsewhere, or for another architecture.
ELSEWHERE = {"src/base/crc32c_x86.c", "src/base/crc32c_arm.c", "src/base/crc32c_none.c",
             "src/base/clock_x86.c", "src/base/clock_none.c"}


def introspect(build, what):
    done = subprocess.run(["meson", "introspect", str(build), what], capture_output=True, text=True,
                          check=True)
    return json.loads(done.stdout)


def built_sources(root, build):
    found = set()
    for target in introspect(build, "--targets"):
        for part in target["target_sources"]:
            for source in part.get("sources", []):
                path = pathlib.Path(source)
                if path.is_relative_to(root):
                    found.add(str(path.relative_to(root)))
    return found


def run_scripts(root, build):
    found = set()
    for test in introspect(build, "--tests"):
        for argument in test["cmd"]:
            path = pathlib.Path(argument)
            path = path if path.is_absolute() else build / path
            if path.resolve().is_relative_to(root):
                found.add(str(path.resolve().relative_to(root)))
    return found


def main():
    root, build = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    built, run = built_sources(root, build), run_scripts(root, build)
    missing = []
    for pattern in ("src/**/*.c", "cli/*.c", "test/unit/test_*.c", "test/sim/*.c"):
        for path in root.glob(pattern):
            name = str(path.relative_to(root))
            if name not in built and name not in ELSEWHERE:
                missing.append(f"{name}: not built")
    for pattern in ("test/integration/test_*", "test/abi/*.py"):
        for path in root.glob(pattern):
            name = str(path.relative_to(root))
            if name not in run:
                missing.append(f"{name}: not run")
    fuzz_list = (root / "test/fuzz/meson.build").read_text()
    for path in root.glob("test/fuzz/fuzz_*.c"):
        if f"'{path.stem[5:]}'" not in fuzz_list and "fuzz_*.c" not in fuzz_list:
            missing.append(f"test/fuzz/{path.name}: not in test/fuzz/meson.build")
        if not any((root / "test/fuzz/corpus" / path.stem[5:]).glob("*")):
            missing.append(f"test/fuzz/{path.name}: no corpus in test/fuzz/corpus/{path.stem[5:]}")
    for line in sorted(missing):
        print(line)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the shared library exports is what src/llrph.map lists, and that is what the public headers
declare; the static library has no global name outside llr_ and llrph_."""
import pathlib
import re
import subprocess
import sys


def nm(*arguments):
    done = subprocess.run(["nm", *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def declared(root):
    names = set()
    for header in (root / "include" / "llrph").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = re.sub(r"^#.*?(?<!\\)$", "", text, flags=re.M | re.S)
        for declaration in re.findall(r"LLRPH_EXPORT([^;]*);", text):
            names.add(re.search(r"\b(llrph_\w+)\s*\(", declaration).group(1))
    return names


def mapped(root):
    text = re.sub(r"/\*.*?\*/", "", (root / "src" / "llrph.map").read_text(), flags=re.S)
    names = {}
    for node, body in re.findall(r"(LLRPH_[\d.]+)\s*\{(.*?)\}", text, flags=re.S):
        for name in re.findall(r"\b(llrph_\w+);", body):
            names[name] = node
    return names


def exported(library):
    names = {}
    for line in nm("-D", "--defined-only", "--with-symbol-versions", library):
        _, kind, name = line.split()
        if kind == "A":
            continue  # the version node itself
        name, _, version = name.partition("@@")
        names[name] = version
    return names


def leaks(archive):
    found = set()
    for line in nm("-g", "--defined-only", archive):
        fields = line.split()
        # Sanitizers and coverage put names of their own, with two underscores, into objects.
        if len(fields) == 3 and not re.match(r"llrp?h?_|__", fields[2]):
            found.add(fields[2])
    return found


def main():
    root, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    in_headers, in_map, in_library = declared(root), mapped(root), exported(build / "libllrph.so")
    complaints = [
        ("in a header, not in llrph.map", in_headers - in_map.keys()),
        ("in llrph.map, in no header", in_map.keys() - in_headers),
        ("in llrph.map, not in libllrph.so", in_map.keys() - in_library.keys()),
        ("exported by libllrph.so, not in llrph.map", in_library.keys() - in_map.keys()),
        ("exported under another version than llrph.map's",
         {name for name, node in in_map.items() if in_library.get(name, node) != node}),
        ("global in libllrph.a without our prefix", leaks(build / "libllrph.a")),
    ]
    good = bool(in_headers)
    for text, names in complaints:
        for name in sorted(names):
            print(f"{name}: {text}")
            good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

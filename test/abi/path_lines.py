#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The path itself: the files that a request over shared memory passes through, as ARCHITECTURE.md
lists them between <!-- path:begin --> and <!-- path:end -->, have at most 1,842 lines of code as
cloc counts them."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

LINES_MAX = 1842


def main():
    root = pathlib.Path(sys.argv[1])
    text = (root / "ARCHITECTURE.md").read_text()
    match = re.search(r"<!-- path:begin -->(.*?)<!-- path:end -->", text, flags=re.S)
    if match is None:
        print("ARCHITECTURE.md lists no path yet")
        return 77
    if shutil.which("cloc") is None:
        print("cloc is not installed")
        return 77
    names = sorted(set(re.findall(r"\b(?:src|include)/[\w/.-]+\.[ch]\b", match.group(1))))
    missing = [name for name in names if not (root / name).is_file()]
    for name in missing:
        print(f"{name}: listed in ARCHITECTURE.md, but not there")
    if missing or not names:
        return 1
    done = subprocess.run(["cloc", "--json", "--by-file", "--skip-uniqueness", *names], cwd=root,
                          capture_output=True, text=True, check=True)
    counts = {name: entry["code"] for name, entry in json.loads(done.stdout).items()
              if name not in ("header", "SUM")}
    total = sum(counts.values())
    for name in sorted(counts):
        print(f"{counts[name]:6} {name}")
    print(f"{total:6} in all, of {LINES_MAX} at most")
    return 0 if len(counts) == len(names) and total <= LINES_MAX else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Include rules of ARCHITECTURE.md: cli -> engine, client -> transport, observe -> request -> base;
nothing points up, and no transport includes another one."""
import pathlib
import re
import sys

# What each floor may include besides itself: a floor, or one header of it.
BELOW = {
    "base": set(),
    "request": {"base"},
    "transport": {"base"},  # bytes alone: it knows nothing of frames
    "observe": {"base", "request", "transport/transport.h"},  # lists a transport's counters
    "service": {"base"},
    "engine": {"base", "request", "transport", "observe", "service/builtin.h"},
    "client": {"base", "request", "transport", "observe"},
    "cli": {"base", "request", "transport", "observe", "engine", "client", "service"},
}
# Public headers that any floor may include; the others are engine's, client's and cli's.
PUBLIC_BELOW = {"llrph/error.h", "llrph/service.h"}
PUBLIC_ABOVE = {"engine", "client", "cli"}
TRANSPORTS = ("shm", "udp", "tcp")


def transport_of(path):
    """shm, udp or tcp; None for what they share (address, lane, host, handover)."""
    stem = path.stem.split("_")[0]
    return stem if stem in TRANSPORTS else None


def complaint(floor, path, include):
    """Why the file at path, of that floor, must not include this; None: it may."""
    if include.startswith("llrph/"):
        if include in PUBLIC_BELOW or floor in PUBLIC_ABOVE:
            return None
        return f"{floor} knows {', '.join(sorted(PUBLIC_BELOW))} alone"
    target = pathlib.PurePosixPath(include)
    target_floor = target.parts[0] if len(target.parts) > 1 else floor
    if target_floor not in BELOW:
        return "no such floor"
    if target_floor != floor and target_floor not in BELOW[floor] and include not in BELOW[floor]:
        return f"{floor} must not know {target_floor}"
    if floor == "transport" and target_floor == "transport":
        own, other = transport_of(path), transport_of(target)
        if other is not None and own != other:
            return f"{own or 'what transports share'} must not know {other}"
    return None


def main():
    root = pathlib.Path(sys.argv[1])
    good, seen = True, 0
    for top in ("src", "cli"):
        for path in sorted((root / top).rglob("*.[ch]")):
            relative = path.relative_to(root)
            floor = "cli" if top == "cli" else relative.parts[1]
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<(llrph/[^>]+)>)', line)
                if match is None:
                    continue
                seen += 1
                if floor not in BELOW:
                    why = f"{floor} is not a floor of ARCHITECTURE.md"
                else:
                    why = complaint(floor, relative, match.group(1) or match.group(2))
                if why is not None:
                    print(f"{relative}:{number}: {line.strip()}: {why}")
                    good = False
    return 0 if good and seen > 0 else 1


if __name__ == "__main__":
    sys.exit(main())

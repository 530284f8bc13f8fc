#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Prints the medians of bench/run's results, and how far each is from the machine's best."""
import json
import pathlib
import statistics
import sys


def medians(paths):
    runs = [json.loads(path.read_text()) for path in paths]
    latency = {name: statistics.median(run["latency_ns"][name] for run in runs)
               for name in ("p50", "p99", "p99.9")}
    rate = statistics.median(run.get("rate", 0) for run in runs)
    failed = sum(sum(run.get("errors", {}).values()) for run in runs)
    return latency, rate, failed


def main():
    folder = pathlib.Path(sys.argv[1])
    print("\nmedians, us     p50      p99    p99.9       rate/s  floor p50  p50 / floor")
    failed_in_all = 0
    for transport in ("shm", "udp", "tcp"):
        latency, rate, failed = medians(sorted(folder.glob(f"echo-{transport}-*.json")))
        floor, _, _ = medians(sorted(folder.glob(f"floor-{transport}-*.json")))
        failed_in_all += failed
        print("%-10s %8.2f %8.2f %8.2f %12.0f %10.2f %12.2f" % (
            transport, latency["p50"] / 1e3, latency["p99"] / 1e3, latency["p99.9"] / 1e3, rate,
            floor["p50"] / 1e3, latency["p50"] / floor["p50"]))
    if failed_in_all:
        print(f"{failed_in_all} requests failed")
    return 1 if failed_in_all else 0


if __name__ == "__main__":
    sys.exit(main())

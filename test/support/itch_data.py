#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Turns data/itch into what the unit tests read without JSON or gzip.

usage: itch_data.py FEED EXPECTED.json OUT.itch OUT.txt

FEED may be gzipped. OUT.txt has one fact a line:
  type LETTER COUNT | anomaly NAME COUNT | live COUNT | live_max COUNT | changes COUNT | sha HEX
  side LOCATE B|S LEVELS ORDERS SHARES | level LOCATE B|S PRICE SHARES ORDERS   (best first)
"""
import gzip
import json
import sys


def facts(expected):
    for letter, count in sorted(expected["by_type"].items()):
        yield f"type {letter} {count}"
    for name, count in sorted(expected["anomalies"].items()):
        yield f"anomaly {name} {count}"
    yield f"live {expected['live_orders']}"
    yield f"live_max {expected['max_live_orders']}"
    yield f"changes {expected['bbo_changes']}"
    yield f"sha {expected['bbo_sha256']}"
    for locate, book in expected["books"].items():
        for side, letter in (("bid", "B"), ("ask", "S")):
            yield " ".join(map(str, ("side", locate, letter, book[side + "_levels"],
                                     book[side + "_orders"], book[side + "_shares"])))
            for level in book[side]:
                yield " ".join(map(str, ("level", locate, letter, *level)))


def main():
    feed, expected, out_feed, out_facts = sys.argv[1:]
    with open(feed, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    with open(out_feed, "wb") as file:
        file.write(data)
    with open(expected, encoding="utf-8") as file:
        lines = list(facts(json.load(file)))
    with open(out_facts, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


main()

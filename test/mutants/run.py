#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes each mutant of mutants.toml and runs the test that must fail on it.

  run.py --build DIR [--slice N/M] [--seeds N] [NAME...]

DIR is a configured and built tree. A mutant is one file compiled anew, exactly as the build does,
and linked before the library that has the other one; nothing of the tree or the build changes.
Prints TAP. Fails if a mutant is not caught, if its old text is not found exactly once, or if the
code as it is does not pass.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TEST_SECONDS = 120  # a mutant that hangs is caught; one run takes a few seconds


class Problem(Exception):
    """Neither caught nor missed: something is wrong with the mutant or the build."""


def commands_of(build, target):
    """All commands that make a target, the link last."""
    done = subprocess.run(['ninja', '-C', build, '-t', 'commands', target],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Problem(f'{target}: {done.stderr.strip()}')
    return [shlex.split(line) for line in done.stdout.splitlines() if line]


def sources_of(command, build):
    """The file that a compile command compiles, as an absolute path; None: it links."""
    if '-c' not in command:
        return None
    path = command[command.index('-c') + 1]
    return os.path.realpath(os.path.join(build, path))


def output_index(command):
    return command.index('-o') + 1


def run(command, build):
    done = subprocess.run(command, cwd=build, capture_output=True, text=True)
    if done.returncode != 0:
        raise Problem(f'{" ".join(command[:3])}...: {done.stderr.strip()[:2000]}')


class Tree:
    """What the build says of a target: how to compile a file of it, and how to link."""

    def __init__(self, build, target):
        self.build = build
        commands = commands_of(build, target)
        # The library's archives are made by earlier commands; the program's link is the last one.
        self.link = commands[-1]
        self.compile = {}
        for command in commands:
            source = sources_of(command, build)
            # A file may be compiled twice: the simulator's own way comes last, and counts.
            if source is not None:
                if source not in self.compile or 'sim_mortal' in command[output_index(command)]:
                    self.compile[source] = command

    def make(self, source, mutated, folder):
        """Links the target with mutated in source's place; returns the program's path."""
        command = list(self.compile[source])
        command[command.index('-c') + 1] = mutated
        where = os.path.join(folder, 'mutant.o')
        command[output_index(command)] = where
        for flag in ('-MF', '-MQ'):
            if flag in command:
                command[command.index(flag) + 1] = os.path.join(folder, 'mutant.d')
        run(command, self.build)
        link = list(self.link)
        program = os.path.join(folder, 'program')
        link[output_index(link)] = program
        link.insert(output_index(link) + 1, where)
        run(link, self.build)
        return program


def mutate(mutant):
    path = os.path.join(ROOT, mutant['file'])
    with open(path, encoding='utf-8') as file:
        text = file.read()
    count = text.count(mutant['old'])
    if count != 1:
        raise Problem(f'{mutant["file"]}: the old text stands there {count} times, not once')
    return text.replace(mutant['old'], mutant['new'])


def test_command(name, program, seeds):
    if name != 'sim':
        return [program]
    return [program, '--seeds', f'1..{seeds}', '--jobs', '1', '--brief']


def target_of(name):
    return 'test/sim/sim' if name == 'sim' else f'test/unit/test_{name}'


def passes(command):
    """True, or False with the line that says why."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors='replace',
                              timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return False, 'it hangs'
    if done.returncode == 0:
        return True, ''
    lines = [line for line in (done.stderr + done.stdout).splitlines()
             if re.search(r'seed|assert|not ok|ERROR|FAILED', line)]
    return False, lines[0].strip() if lines else f'exit status {done.returncode}'


def try_mutant(mutant, trees, seeds):
    with tempfile.TemporaryDirectory() as folder:
        mutated = os.path.join(folder, os.path.basename(mutant['file']))
        with open(mutated, 'w', encoding='utf-8') as file:
            file.write(mutate(mutant))
        tree = trees[mutant['caught_by']]
        program = tree.make(os.path.join(ROOT, mutant['file']), mutated, folder)
        return passes(test_command(mutant['caught_by'], program, seeds))


def report(number, name, future):
    """One line of TAP; true if the mutant was caught."""
    try:
        survived, reason = future.result()
    except Problem as problem:
        print(f'not ok {number} - {name}: {problem}', flush=True)
        return False
    if survived:
        print(f'not ok {number} - {name}: nothing notices', flush=True)
        return False
    print(f'ok {number} - {name}\n# {reason[:160]}', flush=True)
    return True


def choose(mutants, options):
    names = options.names or list(mutants)
    unknown = [name for name in names if name not in mutants]
    if unknown:
        sys.exit(f'no such mutant: {", ".join(unknown)}')
    part, parts = (int(number) for number in options.slice.split('/'))
    return [name for index, name in enumerate(names) if index % parts == part % parts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--build', required=True)
    parser.add_argument('--slice', default='0/1', help='the Nth of M parts of the mutants')
    parser.add_argument('--seeds', type=int, default=1000, help='that the simulator tries on each')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    with open(os.path.join(HERE, 'mutants.toml'), 'rb') as file:
        mutants = tomllib.load(file)
    names = choose(mutants, options)
    tests = sorted({mutants[name]['caught_by'] for name in names})
    print(f'1..{len(names) + len(tests)}', flush=True)
    trees = {test: Tree(options.build, target_of(test)) for test in tests}
    good = True
    for number, test in enumerate(tests, 1):
        program = os.path.join(options.build, trees[test].link[output_index(trees[test].link)])
        right, reason = passes(test_command(test, program, options.seeds))
        print(f'{"ok" if right else "not ok"} {number} - {test} passes as it is {reason}',
              flush=True)
        good = good and right
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(try_mutant, mutants[name], trees, options.seeds) for name in names]
        for number, (name, future) in enumerate(zip(names, futures), len(tests) + 1):
            good = report(number, name, future) and good
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())

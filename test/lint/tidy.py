#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The house's own rules, as far as a program can see them:

- every public function has a doc comment with its fields in order and a line for each parameter;
- functions have at most 70 lines, files at most 800, lines at most 100 columns;
- every file opens with its licence and says what it is;
- no typedef of a struct, no TODO without an issue's number, no alloca;
- README.md prints the packages of packaging/debian-packages.txt.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
COLUMNS_MAX = 100
TAB = 8
FIELDS = ["Thread:", "Blocks:", "Allocates:", "Owns:", "Since:", "Return:"]

complaints = []


def complain(path, number, text):
    complaints.append(f"{path.relative_to(ROOT)}:{number}: {text}")


def parameters(declaration):
    """Names of a declaration's parameters; none for (void)."""
    inside = declaration[declaration.index("(") + 1:declaration.rindex(")")]
    names = []
    for parameter in inside.split(","):
        words = re.findall(r"\w+", parameter)
        if words and words != ["void"] and "..." not in parameter:
            names.append(words[-1])
    return names


def check_doc(path, number, name, names, comment):
    if comment is None or not comment.startswith("/**"):
        complain(path, number, f"{name} has no doc comment")
        return
    if not re.match(rf"/\*\*\n \* {name}\(\) - \S", comment):
        complain(path, number, f"{name}: the doc comment starts with '{name}() - what it does'")
    documented = re.findall(r"^ \* @(\w+):\s+\S", comment, flags=re.M)
    if documented != names:
        complain(path, number, f"{name}: parameters are {names}, @ lines are for {documented}")
    places = [comment.find(f" {field}") for field in FIELDS]
    for field, place in zip(FIELDS, places):
        if place < 0:
            complain(path, number, f"{name}: no field {field}")
    there = [place for place in places if place >= 0]
    if there != sorted(there):
        complain(path, number, f"{name}: fields in another order than {' '.join(FIELDS)}")


def check_public(path):
    text = path.read_text()
    for match in re.finditer(r"^LLRPH_EXPORT\b([^;{]*);", text, flags=re.M):
        declaration = re.sub(r"\s*(LLRPH_MUST_CHECK|__attribute__\(\(.*?\)\))\s*$", "",
                             match.group(1), flags=re.S)
        name = re.search(r"\b(llrph_\w+)\s*\(", declaration).group(1)
        before = text[:match.start()].rstrip()
        comment = before[before.rindex("/*"):] if before.endswith("*/") else None
        check_doc(path, text.count("\n", 0, match.start()) + 1, name, parameters(declaration),
                  comment)


def check_functions(path, lines):
    """A function's body is what stands between braces at the beginning of a line."""
    start, in_comment = None, False
    for number, line in enumerate(lines, 1):
        in_comment = in_comment or line.startswith("/*")
        if line == "{" and not in_comment:
            start = number
        elif line == "}" and start is not None:
            size = number - start + 1
            if size > FUNCTION_LINES_MAX:
                complain(path, start, f"function of {size} lines, {FUNCTION_LINES_MAX} at most")
            start = None
        if "*/" in line:
            in_comment = False


def check_file(path):
    lines = path.read_text().splitlines()
    if len(lines) > FILE_LINES_MAX:
        complain(path, 1, f"{len(lines)} lines, {FILE_LINES_MAX} at most")
    if not lines or lines[0] != "/* SPDX-License-Identifier: MIT */":
        complain(path, 1, "the first line is /* SPDX-License-Identifier: MIT */")
    elif len(lines) < 2 or not lines[1].startswith("/*"):
        complain(path, 2, "after the licence, a comment says what the file is")
    check_functions(path, lines)
    for number, line in enumerate(lines, 1):
        width = len(line.expandtabs(TAB))
        if width > COLUMNS_MAX and "X(" not in line:
            complain(path, number, f"{width} columns, {COLUMNS_MAX} at most")
        if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line):
            complain(path, number, "a TODO names its issue: TODO(#12)")
        if re.match(r"\s*typedef\s+struct\b", line):
            complain(path, number, "structs have no typedef")
        if re.search(r"\balloca\s*\(", line):
            complain(path, number, "no memory of unknown size on the stack")


def check_packages():
    readme = ROOT / "README.md"
    if not readme.exists():
        return
    done = subprocess.run(["packaging/install-deps.sh", "--list", "build", "run", "test"], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    text = readme.read_text()
    match = re.search(r"<!-- packages:begin -->(.*?)<!-- packages:end -->", text, flags=re.S)
    if match is None:
        complain(readme, 1, "no list between <!-- packages:begin --> and <!-- packages:end -->")
        return
    wanted = set(done.stdout.split())
    printed = set(re.findall(r"[\w.+-]+", match.group(1))) - {"sudo", "apt-get", "apt", "install",
                                                             "-y", "--no-install-recommends", "sh",
                                                             "console"}
    for name in sorted(wanted ^ printed):
        where = "missing" if name in wanted else "not in packaging/debian-packages.txt"
        complain(readme, text.count("\n", 0, match.start()) + 1, f"package {name}: {where}")


def main():
    files = 0
    for folder in ("include", "src", "cli", "test", "bench"):
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            check_file(path)
            files += 1
    for path in sorted((ROOT / "include").rglob("*.h")):
        check_public(path)
    check_packages()
    for line in complaints:
        print(line)
    return 1 if complaints or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

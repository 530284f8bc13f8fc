#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every public header compiles by itself, as C11 and as C++17, without a warning; and the layouts
in sizes.c hold. With every compiler of gcc and clang that is here."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wundef", "-Werror",
          "-fsyntax-only"]


def compile_with(compiler, source, flags):
    done = subprocess.run([compiler, *STRICT, *flags, str(source)], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{compiler} {' '.join(flags)} {source}:\n{done.stderr}")
    return done.returncode == 0


def main():
    root = pathlib.Path(sys.argv[1])
    include = f"-I{root / 'include'}"
    headers = sorted((root / "include" / "llrph").glob("*.h"))
    compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
    good = bool(headers) and bool(compilers)
    with tempfile.TemporaryDirectory() as folder:
        for header in headers:
            source = pathlib.Path(folder) / f"{header.stem}.c"
            # Twice: the guard is tested too.
            source.write_text(f"#include <llrph/{header.name}>\n" * 2)
            for compiler in compilers:
                good &= compile_with(compiler, source, ["-std=c11", include])
                good &= compile_with(compiler, source, ["-x", "c++", "-std=c++17", include])
    for compiler in compilers:
        good &= compile_with(compiler, root / "test" / "abi" / "sizes.c", ["-std=c11", include])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

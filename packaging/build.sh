#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the project in build/, for $PREFIX. Says what is missing before meson does.
set -eu
cd "$(dirname "$0")/.."

PREFIX=${PREFIX:-/usr/local}
werror=false
[ "${CI:-}" = true ] && werror=true

for tool in meson ninja gcc pkg-config; do
	if ! command -v "$tool" >/dev/null; then
		echo "llrph: $tool is missing: run packaging/install-deps.sh build" >&2
		exit 1
	fi
done

# Meson keeps its answers: asked again only where they are others, for that costs seconds.
answers="$PREFIX $werror"
if [ ! -f build/build.ninja ]; then
	meson setup build --prefix="$PREFIX" -Dwerror="$werror"
	echo "$answers" >build/.answers
elif [ "$(cat build/.answers 2>/dev/null)" != "$answers" ]; then
	meson setup --reconfigure build --prefix="$PREFIX" -Dwerror="$werror"
	echo "$answers" >build/.answers
fi
ninja -C build

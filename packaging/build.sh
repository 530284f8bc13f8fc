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

# What meson says is of interest only where it fails.
configure()
{
	log=$(mktemp)
	if ! meson setup "$@" build --prefix="$PREFIX" -Dwerror="$werror" >"$log" 2>&1; then
		cat "$log" >&2
		rm -f "$log"
		exit 1
	fi
	rm -f "$log"
	echo "$answers" >build/.answers
}

# Meson keeps its answers: asked again only where they are others, for that costs seconds.
answers="$PREFIX $werror"
if [ ! -f build/build.ninja ]; then
	configure
elif [ "$(cat build/.answers 2>/dev/null)" != "$answers" ]; then
	configure --reconfigure
fi
ninja -C build

#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what was built, under $DESTDIR$PREFIX. Root compiles nothing: not in somebody's tree,
# where it would leave files that their owner cannot touch. So `make && sudo make install`.
set -eu
cd "$(dirname "$0")/.."

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
owner=$(stat -c %U .)

# Runs a command as the tree's owner.
as_owner() {
	if [ "$(id -u)" -eq 0 ] && [ "$owner" != root ]; then
		runuser -u "$owner" -- "$@"
	else
		"$@"
	fi
}

if [ "$(id -u)" -ne 0 ]; then
	PREFIX="$PREFIX" packaging/build.sh
elif [ ! -f build/build.ninja ]; then
	if [ "$owner" = root ]; then
		echo "llrph: nothing is built yet: run 'make PREFIX=$PREFIX' first" >&2
		exit 1
	fi
	as_owner env PREFIX="$PREFIX" packaging/build.sh
else
	# A new prefix changes no object: meson only writes its plans anew.
	built=$(sed 's/ [a-z]*$//' build/.answers 2>/dev/null || true)
	if [ "$built" != "$PREFIX" ]; then
		as_owner meson setup --reconfigure build --prefix="$PREFIX" >/dev/null
		as_owner sh -c "echo '$PREFIX false' >build/.answers"
	fi
	if ! as_owner ninja -C build -n | grep -q 'no work to do'; then
		echo "llrph: the build is older than its sources: run 'make PREFIX=$PREFIX' first" >&2
		exit 1
	fi
fi

set -- --no-rebuild --quiet
[ -z "$DESTDIR" ] || set -- "$@" --destdir "$(realpath -m "$DESTDIR")"
meson install -C build "$@"
# A library in a new place is found by its cache.
if [ "$(id -u)" -eq 0 ] && [ -z "$DESTDIR" ]; then
	ldconfig
fi
echo "llrph: installed in $DESTDIR$PREFIX"

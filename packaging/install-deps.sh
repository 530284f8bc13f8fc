#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what is missing of debian-packages.txt, for the groups named: install-deps.sh build run
# Says and does nothing where nothing is missing; where it may not, says what to type.
# With --list it prints the packages of the groups, one a line.
set -eu

list=$(dirname "$0")/debian-packages.txt
only_list=no
if [ "${1:-}" = --list ]; then
	only_list=yes
	shift
fi
if [ $# -eq 0 ]; then
	echo "usage: $0 [--list] build|run|test ..." >&2
	exit 2
fi

wanted=
for group in "$@"; do
	packages=$(awk -v group="$group" '$1 == group { print $2 }' "$list")
	if [ -z "$packages" ]; then
		echo "$0: no group '$group' in $list" >&2
		exit 2
	fi
	wanted="$wanted $packages"
done
if [ "$only_list" = yes ]; then
	printf '%s\n' $wanted
	exit 0
fi

if ! command -v dpkg-query >/dev/null; then
	echo "llrph: not a Debian system: see packaging/debian-packages.txt for what is needed" >&2
	exit 0 # it may be there all the same: meson will say what is not
fi

missing=
for package in $wanted; do
	# A virtual package, or one of another name that provides this, is not looked for: the list
	# names real ones.
	status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	as_root='sudo -n'
else
	echo "llrph: missing packages; as root type: $install" >&2
	exit 1
fi

echo "llrph: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# Lists that are missing or too old for what the mirror has now: fetch them and try once more.
if ! $as_root $install >/dev/null 2>&1; then
	if ! { $as_root apt-get update && $as_root $install; } >&2; then
		echo "llrph: could not install; as root type: apt-get update && $install" >&2
		exit 1
	fi
fi

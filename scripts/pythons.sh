#!/bin/sh
# Find CPython interpreters that work, not only names on PATH (a pyenv shim of a version that is not selected fails).
#   pythons.sh main    print the interpreter for .venv: python3 if it is new enough, else the oldest that is
#   pythons.sh all     print "VERSION PATH" for each of 3.11, 3.12, 3.13 that this machine has
set -u

# Print the path of interpreter $1 if it is a CPython with the version that $2 asks of `v`, and can make a venv.
check() {
    "$1" -c "import sys, venv, ensurepip
v = sys.version_info[:2]
if sys.implementation.name == 'cpython' and ($2):
    print(sys.executable)" 2>/dev/null
}

# Print candidates for version $1, best first.
candidates() {
    command -v "python$1"
    for directory in $(echo "$PATH" | tr ':' ' '); do
        [ -x "$directory/python$1" ] && echo "$directory/python$1"
    done
    root=$(pyenv root 2>/dev/null) && ls -d "$root/versions/$1".*/bin/python 2>/dev/null | sort -rV
}

find_version() {
    for candidate in $(candidates "$1"); do
        path=$(check "$candidate" "v == (3, ${1#3.})")
        [ -n "$path" ] && echo "$path" && return
    done
}

all() {
    for version in 3.11 3.12 3.13; do
        path=$(find_version "$version")
        [ -n "$path" ] && echo "$version $path"
    done
}

main() {
    path=$(check python3 "v >= (3, 11)")
    [ -n "$path" ] || path=$(all | head -n 1 | cut -d ' ' -f 2)
    [ -n "$path" ] || { echo "no CPython >= 3.11 with venv found" >&2; exit 1; }
    echo "$path"
}

case ${1:-} in
    main) main ;;
    all) all ;;
    *) echo "usage: pythons.sh main|all" >&2; exit 2 ;;
esac

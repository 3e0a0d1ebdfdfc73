#!/bin/sh
# Run the unit suite of the built wheel on every other CPython that the machine has, each in a .venv-VERSION.
# Usage: others.sh PYTHON WHEEL PYTEST-ARGUMENT...   where PYTHON is the interpreter of .venv, which has run it already.
set -eu

python=$1 wheel=$2
shift 2
main=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
others=$(sh scripts/pythons.sh all | grep -v "^$main ") || exit 0 # there is no other

prepare() {
    venv=.venv-$1
    if cmp -s constraints.txt "$venv/constraints.txt"; then
        "$python" -m pip --python "$venv/bin/python" install -q --no-deps --force-reinstall "$wheel"
    else
        "$2" -m venv --clear --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install -q --no-compile -c constraints.txt --group unit "$wheel"
        cp constraints.txt "$venv/constraints.txt"
    fi
}

# Side by side, for each of them mostly waits.
echo "$others" | {
    started=
    while read -r version path; do
        prepare "$version" "$path" </dev/null &
        started="$started $!"
    done
    for one in $started; do
        wait "$one"
    done
}

echo "$others" | while read -r version _; do
    echo "== unit suite on CPython $version"
    # Standard input is the list of interpreters: pytest must not read it.
    ".venv-$version/bin/pytest" "$@" </dev/null
done

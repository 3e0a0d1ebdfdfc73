#!/bin/sh
# Run the unit suite of the built wheel on every other CPython that the machine has, each in a .venv-VERSION.
# Usage: others.sh PYTHON WHEEL PYTEST-ARGUMENT...   where PYTHON is the interpreter of .venv, which has run it already.
set -eu

python=$1 wheel=$2
shift 2
main=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

sh scripts/pythons.sh all | while read -r version path; do
    [ "$version" != "$main" ] || continue
    venv=.venv-$version
    if ! cmp -s constraints.txt "$venv/constraints.txt"; then
        "$path" -m venv --clear --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install -q -c constraints.txt --group unit "$wheel"
        cp constraints.txt "$venv/constraints.txt"
    else
        "$python" -m pip --python "$venv/bin/python" install -q --no-deps --force-reinstall "$wheel"
    fi
    echo "== unit suite on CPython $version"
    # Standard input is the list of interpreters: pytest must not read it.
    "$venv/bin/pytest" "$@" </dev/null
done

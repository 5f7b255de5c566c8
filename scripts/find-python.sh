#!/usr/bin/env bash
# Prints the first Python 3.11 or newer that can make virtual environments; fails with one sentence when there is none.
set -euo pipefail

found_without_venv=
for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
  "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
  if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
    command -v "$candidate"
    exit 0
  fi
  found_without_venv=${found_without_venv:-$candidate}
done

if [[ -n $found_without_venv ]]; then
  echo "$found_without_venv has no venv module: install it (on Debian: apt-get install python3-venv)." >&2
else
  echo "Weftline needs Python 3.11 or newer: install one, or name it with make PYTHON=/path/to/python3." >&2
fi
exit 1

#!/usr/bin/env bash
# Generates the Python code of the contract beside its .proto files; run by `make generate`.
set -euo pipefail
cd "$(dirname "$0")/../proto"
python=${PYTHON:-../.venv/bin/python}
PATH="$(dirname "$python"):$PATH" "$python" -m grpc_tools.protoc -I . \
  --python_out=. --mypy_out=quiet:. --grpc_python_out=. --mypy_grpc_out=quiet,only_async:. \
  weftline/v1/*.proto

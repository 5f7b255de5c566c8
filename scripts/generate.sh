#!/usr/bin/env bash
# Generates the Python code of the contract beside its .proto files; with --check, only says whether it is current.
set -euo pipefail
cd "$(dirname "$0")/../proto"
bin=$(cd "${VENV:-../.venv}/bin" && pwd)

generate() {
  PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc -I . \
    --python_out="$1" --mypy_out=quiet:"$1" --grpc_python_out="$1" --mypy_grpc_out=quiet,only_async:"$1" \
    weftline/v1/*.proto
}

if [[ ${1:-} != --check ]]; then
  generate .
  exit 0
fi

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
generate "$fresh"
status=0
for file in $(cd "$fresh" && find . -type f | sort); do
  cmp -s "$fresh/$file" "$file" || { echo "proto/${file#./} is not current: run make generate." >&2; status=1; }
done
while IFS= read -r file; do
  [[ -e $fresh/$file ]] || { echo "proto/${file#./} is generated from nothing: remove it." >&2; status=1; }
done < <(find . -name '*_pb2*.py*' -not -path '*/__pycache__/*')
exit "$status"

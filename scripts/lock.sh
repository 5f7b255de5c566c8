#!/usr/bin/env bash
# Compiles the pinned, hashed requirement files from pyproject.toml; run by `make lock`, with --upgrade for newer releases.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}

compile() {
  local name=$1
  shift
  "$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
    --no-annotate --custom-compile-command "make lock" --output-file "requirements/$name.txt" "$@"
}

# The others are bound to the versions of the first, so what the tests ran with is what an image installs.
compile dev --all-extras --group dev "$@"
bound=(--constraint requirements/dev.txt)
# `make run` has no use for object storage or traces, an image may.
compile runtime --extra executor --extra bridge --extra cli --group build "${bound[@]}"
compile executor --extra executor --extra s3 --extra otel "${bound[@]}"
compile bridge --extra bridge --extra otel "${bound[@]}"

"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --custom-compile-command "make lock" --output-file requirements/build.txt \
  --group pyproject.toml:build "${bound[@]}"

#!/usr/bin/env bash
# Installs the Debian packages that the whole test suite uses, where that is possible; says what is missing where it is not.
set -euo pipefail

declare -A program=([chromium]=chromium [prometheus]=promtool)
missing=()
for package in "${!program[@]}"; do
  command -v "${program[$package]}" >/dev/null || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "Not installed, so their tests are skipped: ${missing[*]} (on Debian, as root: apt-get install ${missing[*]})." >&2
  exit 0
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

#!/usr/bin/env bash
# Builds the app's virtual environment from its requirements.txt, beside it; on removal takes it away.
# Variables: directory (of the app). Standard input: fingerprint of requirements.txt, so that the step follows it.
set -eu
: "${directory:?}"

case $1 in
check)
  frozen=$("$directory/venv/bin/python" -m pip freeze --disable-pip-version-check)
  while read -r requirement; do
    grep -qixF "$requirement" <<<"$frozen" || { echo "the app's environment lacks $requirement" >&2 && exit 1; }
  done <"$directory/requirements.txt"
  ;;
apply)
  # Only for other requirements: the app runs out of this folder.
  if ! cmp --silent "$directory/requirements.txt" "$directory/venv/requirements.txt"; then
    python3 -m venv --clear "$directory/venv"
    "$directory/venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
      --requirement "$directory/requirements.txt"
    # Last, so that an install that is cut off is begun anew.
    cp "$directory/requirements.txt" "$directory/venv/requirements.txt"
  fi
  "$directory/venv/bin/python" -m pip list --disable-pip-version-check 2>/dev/null | grep -i -E '^(ddtrace|flask) '
  ;;
remove)
  rm -rf "$directory/venv"
  rmdir --ignore-fail-on-non-empty "$directory" 2>/dev/null || true
  ;;
esac

#!/usr/bin/env bash
# The prologue before step.sh of steps that handle secrets: runs the step under mask.py, which masks them in its output.
# The program replaces mask.py's path by the one on a host.
set -eu
mask=files/host/mask.py
if [ "${2:-}" != masked ]; then
  export LC_ALL=C.UTF-8
  # shellcheck disable=SC2034 # step.sh reads it: why nobody guards secrets
  if [ ! -r "$mask" ]; then
    unmasked="$mask is gone from $(hostname): run \`python -m watchpost drift --repair\` and then \`pulumi up\`"
  elif [ ! -x /usr/bin/python3 ]; then
    unmasked="python3 is gone from $(hostname): install it there and run \`pulumi up\` again"
  else
    # A step that is undone by its note runs from that file.
    exec /usr/bin/python3 -IB "$mask" "${BASH_EXECUTION_STRING:-$(cat "$0")}" "$0" "$1"
  fi
fi

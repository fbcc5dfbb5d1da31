#!/usr/bin/env bash
# Builds the app's virtual environment next to its requirements.txt, with uv or else pip; deletes it on removal.
# Variables: directory (of the app). Standard input: fingerprint of requirements.txt, so that a change reruns the step.
# shellcheck disable=SC2154 # said is cause.sh's
set -eu
: "${directory:?}"
# By `make update`: uv with the hashes of its wheels for amd64 and arm64.
uv="uv==0.13.9 --hash=sha256:5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19 --hash=sha256:ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375"
use files/host/cause.sh

# Whether the environment has what requirements.txt names, completely installed.
complete() {
  cmp --silent "$directory/requirements.txt" "$directory/venv/requirements.txt" || return 1
  [ -x "$directory/venv/bin/python" ] || return 1
  # Without an index pip installs nothing, and fails if something is missing or has another version.
  "$directory/venv/bin/python" -m pip --isolated --disable-pip-version-check install --quiet --no-index --no-deps \
    --requirement "$directory/requirements.txt" >/dev/null 2>&1
}

# Prints why pip failed, in its own words, to follow a sentence.
complaint() {
  local reason
  reason=$(grep -E 'connection broken|ConnectionPool' <<<"$said" |
    grep -oE 'certificate verify failed[^()]*[^() ]|timed out|\[Errno [0-9]+\] [A-Za-z ]+' | sed -n '1s/.*\] //; 1p')
  if [ -n "$reason" ]; then
    echo ", since it doesn't reach its index ($reason): let the host reach it, or name a proxy or another index in /etc/pip.conf there"
  else
    sed -n -E 's/^ERROR: /: /p' <<<"$said" | sed -E 's#(://)[^/@ ]*@#\1#g; 1q'
  fi
}

case $1 in
check)
  complete || { echo "the app's environment is not what requirements.txt names" >&2 && exit 1; }
  ;;
apply)
  keep_undo environment directory
  alone environment
  # Only if something is missing: the app runs from this folder.
  if ! complete; then
    # The app sees none of these folders (ProtectHome= in its unit), but root's python3 may be in one.
    python=$(command -v python3 || echo python3)
    [[ $(readlink -f "$python") != /@(home|root|run/user)/* ]] || python=/usr/bin/python3
    # pip's settings may ask for it; a virtual environment can't.
    export PIP_USER=0
    pip() {
      "$directory/venv/bin/python" -m pip --no-input --disable-pip-version-check "$@"
    }
    # Takes a third of pip's time; but uv ignores pip's settings, and an index that these name has to be used.
    install_by_uv() {
      local brought=$directory/venv/uv
      ! pip config list | grep -q -E 'index|links|proxy' &&
        pip install --quiet --no-compile --no-deps --only-binary :all: --target "$brought" --requirement /dev/stdin <<<"$uv" &&
        "$brought/bin/uv" pip install --quiet --require-hashes --no-config --no-cache --system-certs --compile-bytecode \
          --python "$directory/venv/bin/python" --requirement "$directory/requirements.txt"
    }
    install_requirements() {
      # venv alone would hide the output of ensurepip.
      "$python" -m venv --clear --without-pip "$directory/venv" &&
        "$directory/venv/bin/python" -m ensurepip --upgrade --default-pip >/dev/null &&
        { install_by_uv || pip install --quiet --require-hashes --only-binary :all: --requirement "$directory/requirements.txt"; }
    }
    heard install_requirements ||
      give_up "pip on $(hostname) can't install $directory/requirements.txt$(complaint)" "$directory" "${TMPDIR:-/tmp}"
    # uv, and the world-writable lock that it leaves.
    rm -rf "$directory/venv/uv" "$directory/venv/.lock"
    # Last, so that an interrupted install starts over, even after a power cut.
    sync --file-system "$directory/venv"
    cp "$directory/requirements.txt" "$directory/venv/requirements.txt"
    sync "$directory/venv/requirements.txt" "$directory/venv"
  fi
  "$directory/venv/bin/python" -m pip list --disable-pip-version-check 2>/dev/null | grep -i -E '^(ddtrace|flask) '
  ;;
remove)
  alone environment
  rm -rf "$directory/venv"
  rmdir --ignore-fail-on-non-empty "$directory" 2>/dev/null || true
  undone environment
  ;;
esac

#!/usr/bin/env bash
# Waits until a machine has booted and can be worked on; says what is wrong with one that can't.
set -eu

[ "$1" != remove ] || exit 0

fail() {
  echo "watchpost: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

[ -x "$(command -v apt-get)" ] || fail "$(hostname) is not an Ubuntu or Debian machine: it has no apt-get"
[ -d /run/systemd/system ] || fail "$(hostname) does not run systemd, which the Agent's and the app's services need"
as_root true 2>/dev/null ||
  fail "$(id -un) may not use sudo without a password on $(hostname); allow it there with: echo '$(id -un) ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/$(id -un)"

if [ -x "$(command -v cloud-init)" ]; then
  echo "waiting for cloud-init"
  # Exit code 2 means done, with warnings.
  timeout 600 cloud-init status --wait >/dev/null || [ $? = 2 ] || fail "cloud-init did not finish on $(hostname)"
fi
timeout 300 systemctl is-system-running --wait >/dev/null || true
state=$(systemctl is-system-running || true)
case $state in
running | degraded) ;;
*) fail "$(hostname) did not finish booting: systemd says '$state'" ;;
esac
# shellcheck source=/dev/null
. /etc/os-release
echo "$(hostname) is ready: $PRETTY_NAME"

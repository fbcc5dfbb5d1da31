#!/usr/bin/env bash
# Waits until a machine has booted and can be worked on, and claims it; says what is wrong with one that can't.
# Standard input: the stack and host that it is to belong to, one word.
set -eu
claim=/var/lib/watchpost/owner

fail() {
  echo "watchpost: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

if [ "$1" = remove ]; then
  # All else of the stack has gone before; a stack that was refused has nothing to remove.
  as_root rm -f "$claim"
  as_root rmdir --ignore-fail-on-non-empty /var/lib/watchpost 2>/dev/null || true
  exit 0
fi
read -r owner

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
# Two stacks on one machine would undo each other's work; of two at once, one gets to make the file.
if [ "$1" = apply ]; then
  as_root install -d -m 0755 /var/lib/watchpost
  # shellcheck disable=SC2016
  as_root bash -c 'set -C; echo "$0" >"$1"' "$owner" "$claim" 2>/dev/null || true
fi
found=$(cat "$claim" 2>/dev/null || true)
[ -n "$found" ] || fail "$(hostname) is not claimed by this stack any more: $claim is gone"
[ "$found" = "$owner" ] ||
  fail "$(hostname) belongs to another stack of Watchpost ($found): destroy that one, or if it is lost, run there: sudo rm $claim"
# shellcheck source=/dev/null
. /etc/os-release
echo "$(hostname) is ready: $PRETTY_NAME"

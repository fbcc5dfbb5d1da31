#!/usr/bin/env bash
# Part of other scripts, after cause.sh: repairs what an apt that was cut off has left, behind another one's lock.
set -eu

repair_packages() {
  # This waits for another apt, and fails where packages are half configured or half removed.
  apt-get -q -o "DPkg::Lock::Timeout=${lock_wait:-600}" check || heard dpkg --configure -a ||
    give_up "dpkg on $(hostname) can't configure what is half installed" "$@"
}

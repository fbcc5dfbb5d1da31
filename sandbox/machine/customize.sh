#!/bin/sh
# Makes a freshly unpacked tree into a bare machine, as a cloud image is: one user with sudo, no host keys.
# Usage: customize.sh TREE SETTINGS USER   (SETTINGS: a folder that is laid over the tree)
set -eu
umask 022
tree=$1
settings=$2
user=$3

rm -f "$tree/etc/apt/apt.conf.d/99mmdebstrap" "$tree"/etc/ssh/ssh_host_*
cp -R --no-preserve=mode,ownership "$settings/." "$tree/"
chroot "$tree" update-ca-certificates --fresh >/dev/null

chroot "$tree" useradd --create-home --shell /bin/bash --user-group "$user"
printf '%s ALL=(ALL) NOPASSWD: ALL\nDefaults env_file=/etc/environment\n' "$user" >"$tree/etc/sudoers.d/90-$user"
chmod 440 "$tree/etc/sudoers.d/90-$user"
echo 'LANG=C.UTF-8' >"$tree/etc/default/locale"
: >"$tree/etc/machine-id"

# What a machine without disks and consoles has no use for, and the timers that would take dpkg's lock now and then.
chroot "$tree" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer motd-news.timer console-getty.service getty@tty1.service systemd-pstore.service \
	systemd-resolved.service systemd-networkd.service systemd-networkd-wait-online.service systemd-timesyncd.service

#!/bin/sh
# Makes a freshly unpacked tree into what a Vagrant box for libvirt holds: Vagrant's user and key, a network by DHCP.
# Usage: box.sh TREE SETTINGS KEY   (SETTINGS: a folder that is laid over the tree; KEY: Vagrant's public key)
set -eu
umask 022
tree=$1
settings=$2
key=$3

rm -f "$tree/etc/apt/apt.conf.d/99mmdebstrap" "$tree"/etc/ssh/ssh_host_*
cp -R --no-preserve=mode,ownership "$settings/." "$tree/"
chroot "$tree" update-ca-certificates --fresh >/dev/null

chroot "$tree" useradd --create-home --shell /bin/bash --user-group vagrant
printf 'vagrant ALL=(ALL) NOPASSWD: ALL\nDefaults env_file=/etc/environment\n' >"$tree/etc/sudoers.d/90-vagrant"
chmod 440 "$tree/etc/sudoers.d/90-vagrant"
chroot "$tree" install -d -m 700 -o vagrant -g vagrant /home/vagrant/.ssh
cp "$key" "$tree/home/vagrant/.ssh/authorized_keys"
chroot "$tree" chown vagrant:vagrant /home/vagrant/.ssh/authorized_keys

# Each VM makes host keys of its own, as boxes do.
cat >"$tree/etc/systemd/system/host-keys.service" <<'UNIT'
[Unit]
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
ExecStart=/usr/bin/ssh-keygen -q -t ecdsa -N "" -f /etc/ssh/ssh_host_ecdsa_key
[Install]
WantedBy=ssh.service
UNIT
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$tree/etc/systemd/network/80-dhcp.network"
chroot "$tree" systemctl --quiet enable systemd-networkd.service host-keys.service
chroot "$tree" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	fstrim.timer systemd-networkd-wait-online.service systemd-timesyncd.service
rm -f "$tree/etc/resolv.conf"
echo 'nameserver 10.0.2.3' >"$tree/etc/resolv.conf"
grep -E '^(search|options)' /etc/resolv.conf >>"$tree/etc/resolv.conf" || true
printf '127.0.0.1 localhost\n127.0.1.1 box\n' >"$tree/etc/hosts"
echo box >"$tree/etc/hostname"
echo 'LANG=C.UTF-8' >"$tree/etc/default/locale"
: >"$tree/etc/machine-id"

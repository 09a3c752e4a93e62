#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# debian_disk.sh TAR TARGET: makes the guest disk from a Debian root file
# system.  A script of its own because it must be root, if only fakeroot's.
. "$(dirname "$0")/lib.sh"
tar=$1 target=$2
make_work_dir
dir=$work/root units=$work/root/etc/systemd/system
mkdir "$dir"
tar -C "$dir" -xf "$tar"
# What nobody may read, fakeroot cannot either.
find "$dir" -type f ! -perm -u=r -exec chmod u+r {} +
mkdir -p "$dir"/{dev,proc,sys,run}
echo 0123456789abcdef0123456789abcdef >"$dir/etc/machine-id"
echo guest >"$dir/etc/hostname"
echo '/dev/vda / ext4 rw 0 0' >"$dir/etc/fstab"
sed -i 's/^root:[^:]*:/root::/' "$dir/etc/shadow"

install -m 755 "$vm_dir/guest/debian-login" "$dir/usr/local/sbin/"
install -m 755 "$vm_dir/guest/say" "$dir/usr/local/bin/"
install -m 644 "$vm_dir/guest/debian-login.service" "$units/"
mkdir -p "$units/multi-user.target.wants"
ln -s ../debian-login.service "$units/multi-user.target.wants/"

# Timers and work of the first boot would make boots differ.
for unit in apt-daily{,-upgrade}.timer dpkg-db-backup.timer fstrim.timer \
	e2scrub_{all.timer,reap.service} systemd-tmpfiles-clean.timer \
	systemd-{random-seed,journal-catalog-update}.service ldconfig.service \
	proc-sys-fs-binfmt_misc.automount; do
	ln -sf /dev/null "$units/$unit"
done
mkdir -p "$dir/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' \
	>"$dir/etc/systemd/journald.conf.d/volatile.conf"

make_ext4 "$dir" "$target" 1G 8d0c1c6e-6d5f-4a5e-9a53-706673646562

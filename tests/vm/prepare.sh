#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# prepare.sh [busybox|debian|aged]...: puts what guests need into the cache folder.
#
#   kernel/     Debian's cloud kernel, unpacked
#   initrd.cpio busybox and the modules for the root disk, not compressed: that
#               costs a guest under TCG more than reading it
#   NAME.raw    whole-disk ext4 images without a partition table
#
# Each part is made again only when the files here that it is made from change.
# An image is laid out the same each time: fixed UUID, hash seed and times.
# Nothing is mounted for it, so no loop device is needed.
. "$(dirname "$0")/lib.sh"

debian_packages=systemd,systemd-sysv,udev,kmod,login,passwd,util-linux,procps

# is_current PART FILE...: was PART made from these files as they are now?
is_current() {
	local part=$1 sum
	shift
	sum=$(cat "$vm_dir/prepare.sh" "$@" | cksum)
	new_stamp=$sum
	[ "$sum" = "$(cat "$cache_dir/$part.stamp" 2>/dev/null)" ]
}
made() { echo "$new_stamp" >"$cache_dir/$1.stamp"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# --- kernel -----------------------------------------------------------------

# The package lists are missing on a machine where apt was never used.
kernel_package() {
	apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		awk '/Depends:/ { print $2; exit }'
}

make_kernel() {
	local package version dir=$cache_dir/kernel
	is_current kernel && return
	package=$(kernel_package)
	if [ -z "$package" ]; then
		as_root apt-get -qq update
		package=$(kernel_package)
	fi
	say "kernel: $package"
	rm -rf "$dir"
	mkdir -p "$dir"
	(cd "$work" && apt-get -qq -o APT::Sandbox::User=root \
		download "$package")
	dpkg-deb -x "$work/$package"_*.deb "$dir"
	[ -d "$dir/lib/modules" ] || ln -s usr/lib "$dir/lib"
	version=${package#linux-image-}
	depmod -b "$dir" "$version"
	ln -s "boot/vmlinuz-$version" "$dir/vmlinuz"
	made kernel
}

make_initrd() {
	local dir=$work/initrd kernel=$cache_dir/kernel version module
	is_current initrd "$cache_dir/kernel.stamp" "$vm_dir/guest/init" && return
	say "initrd"
	version=$(ls "$kernel/lib/modules")
	mkdir -p "$dir"/{bin,sbin,dev,proc,sys,newroot,modules}
	add_busybox "$dir/bin"
	install -m 755 "$vm_dir/guest/init" "$dir/init"
	for module in virtio_pci virtio_blk ext4; do
		modprobe -d "$kernel" -S "$version" --show-depends "$module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
		while read -r module; do
			cp "$module" "$dir/modules/"
			basename "$module" >>"$dir/modules/order"
		done
	(cd "$dir" && find . | sort | busybox cpio -o -H newc -R 0:0) \
		>"$cache_dir/initrd.cpio" 2>/dev/null
	made initrd
}

add_busybox() {
	local applet
	cp "$(command -v busybox)" "$1/busybox"
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$1/$applet"
	done
}

# --- images -----------------------------------------------------------------

make_busybox() {
	local dir=$work/busybox n
	is_current busybox "$vm_dir"/guest/{say,busybox-rc} && return
	say "guest image: busybox"
	mkdir -p "$dir"/{bin,sbin,dev,proc,sys,run,tmp,etc,data}
	add_busybox "$dir/bin"
	ln -s ../bin/busybox "$dir/sbin/init"
	echo '::sysinit:/etc/rc' >"$dir/etc/inittab"
	install -m 755 "$vm_dir/guest/busybox-rc" "$dir/etc/rc"
	install -m 755 "$vm_dir/guest/say" "$dir/bin/say"
	for ((n = 0; n < 192; n++)); do
		head -c 65536 /dev/urandom >"$dir/data/$n"
	done
	(cd "$dir/data" && md5sum ./* | shuf >"$work/sums")
	mv "$work/sums" "$dir/data/sums"
	make_ext4 "$dir" "$cache_dir/busybox.raw" 64M \
		8d0c1c6e-6d5f-4a5e-9a53-70667362627a
	made busybox
}

# The packages come from where this machine's apt gets them, in the way it gets
# them (proxies, checks of dates).
debian_mirror() {
	apt-get indextargets --format '$(SITE) $(COMPONENT) $(CODENAME)' \
		'Created-By: Packages' | awk -v c="$1" '
		$2 == "main" && $3 == c { print $1; exit }'
}

make_debian_tar() {
	local suite options=()
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	while read -r option; do
		options+=(--aptopt="$option")
	done < <(apt-config dump |
		grep -E '^Acquire::(https?::Proxy|Check-)' || true)
	SOURCE_DATE_EPOCH=$image_epoch mmdebstrap --variant=minbase \
		--skip=output/dev --include="$debian_packages" "${options[@]}" \
		--aptopt='Acquire::Languages "none"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		"$suite" "$1" "$(debian_mirror "$suite")" 2>&1 | show_progress >&2
}

# On Ctrl-C mmdebstrap clears up and says so: it must not find nobody to listen.
show_progress() (
	trap '' INT TERM HUP
	awk '/^I: / { print "  " $0; fflush(); last = $0; next }
		{ other = other "\n" $0 }
		END { if (last !~ /success/) print other }'
)

make_debian() {
	local with=()
	is_current debian "$vm_dir"/guest/{say,debian-login{,.service}} \
		"$vm_dir/debian_disk.sh" && return
	say "guest image: Debian, about 90 s"
	make_debian_tar "$work/debian.tar"
	# Without root, fakeroot remembers who owns the guest's files.
	[ "$(id -u)" = 0 ] || with=(fakeroot)
	"${with[@]}" "$vm_dir/debian_disk.sh" "$work/debian.tar" \
		"$cache_dir/debian.raw"
	made debian
}

# The same guest, on a disk whose files were rewritten here and there.
make_aged() {
	make_debian
	is_current aged "$cache_dir/debian.stamp" "$vm_dir/age_disk.sh" && return
	say "guest image: aged, some minutes"
	image_copy debian "$work/aged.raw"
	"$vm_dir/age_disk.sh" "$work/aged.raw"
	mv "$work/aged.raw" "$cache_dir/aged.raw"
	made aged
}

# ----------------------------------------------------------------------------

[ "$(dpkg --print-architecture)" = amd64 ] || skip "the guests are amd64 only"
needs qemu-system-x86_64 busybox depmod mke2fs xz
# Two at once would make everything twice.
exec 9>"$cache_dir/lock"
flock -w 900 9 || die "another run keeps $cache_dir/lock"
make_work_dir
make_kernel
make_initrd
for image; do
	make_"$image"
done
say "accelerator: $(accel)"

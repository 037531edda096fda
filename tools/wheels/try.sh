#!/usr/bin/env bash
# A wheel in an empty place: its size there, a run, a profile, and tests/test_minimal.py with the extra study.
# bash tools/wheels/try.sh WHEEL.whl [FOLDER of arm64_root.sh, for a wheel of aarch64, which QEMU then runs]
# Needs Python 3.11 as python3, for aarch64 qemu-user-static.
set -euo pipefail
(($# >= 1)) || { sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 2; }
wheel=$(realpath "$1") root=${2:+$(realpath "$2")}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 OPENBLAS_NUM_THREADS=1
cd "$work"

if [[ -z $root ]]; then
  python3 -m venv --without-pip "$work/venv"
  site=$(echo "$work"/venv/lib/python3*/site-packages)
  install() { python3 -m pip --python "$work/venv/bin/python" install -q "$@"; }
  run() { timeout 900 "$work/venv/bin/python" "$@"; }
else # pip runs on the host, and takes the target's wheels
  site=$work/site
  platforms=()
  for minor in 17 24 26 27 28 31 34 35 36; do platforms+=(--platform "manylinux_2_${minor}_aarch64"); done
  install() {
    python3 -m pip install -q --upgrade --target "$site" --python-version 3.11 --implementation cp --only-binary=:all: \
      "${platforms[@]}" --platform manylinux2014_aarch64 "$@"
  }
  run() {
    PYTHONPATH=$site timeout 900 qemu-aarch64-static -cpu "${CPU:-cortex-a76}" -L "$root" "$root/usr/bin/python3.11" "$@"
  }
fi
install "$wheel"
echo "$(basename "$wheel"): $(du -sm --apparent-size "$site" | cut -f1) MB installed"
du -sm --apparent-size "$site"/* | sort -rn | head -n 6
run - <<'PYTHON'
import platform

import numpy as np
import rdquant as rdq
from rdquant.demo import digits_model

session = rdq.Session(digits_model())
logits = session.run({"image": np.ones((1, 1, 8, 8), np.float32)})["logits"]
print(platform.machine(), "runs:", round(float(logits.max()), 3), "at", int(logits.argmax()))
print(len(session.profile()), "steps profiled")
PYTHON
[[ -n $root ]] || run -m rdquant profile "$(run -c 'from rdquant.demo import digits_model; print(digits_model())')" \
  -o "$work/profile" --seconds 0.1 --processes 1
install "$wheel[study]" pytest pytest-timeout
run -m pytest -q -p no:cacheprovider --rootdir "$repository" -c "$repository/pyproject.toml" "$repository/tests/test_minimal.py"

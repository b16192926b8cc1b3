#!/usr/bin/env bash
# Tests and timings on a machine with a CUDA device. Needs python3 >= 3.11 with cupy, numpy, scipy, mpmath, pluggy and
# pytest, and no network; torch and jax are timed where they are installed. Takes a few minutes.
set -uo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

python=${PYTHON:-python3}
status=0
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT

# Plugins are found by their entry points, so the distribution's metadata has to be on the path.
if "$python" -c 'import hatchling' 2>/dev/null; then
    "$python" -m pip install --quiet --no-deps --no-build-isolation --target "$site" . || exit 1
else
    "$python" tools/write_metadata.py "$site" || exit 1
    export PYTHONPATH=core:plugins${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
export PYTHONDONTWRITEBYTECODE=1 XLA_PYTHON_CLIENT_PREALLOCATE=false

echo "== doctor"
"$python" -m gradloom doctor || status=1
echo "== tests on the device"
# The folder's own conftest is enough; that of all tests needs hypothesis.
timeout 300 "$python" -m pytest -q --confcutdir tests/gpu -p no:cacheprovider tests/gpu || status=1
echo "== timings"
timeout 150 "$python" asv_bench/gpu_check.py || status=1
exit $status

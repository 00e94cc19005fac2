#!/usr/bin/env bash
# From a fresh clone to the memory table: installs what is missing, builds, runs the quick experiment on the GPU or
# else the CPU, and makes the report and the plots. Interrupted, it goes on where it stopped.
#
#   bash scripts/reproduce.sh [OUT]      # OUT: where records go (default out/quick)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-out/quick}

step() {  # NAME COMMAND...
  local name=$1 start=$SECONDS code=0
  shift
  echo "== $name"
  "$@" || code=$?
  echo "-- $name: $((SECONDS - start)) s"
  return "$code"
}

setup() { source scripts/setup.sh; }

build() {
  cmake --preset release -DZO2_TORCH_DIR="$ZO2_TORCH_DIR" -DZO2_CUDA="${ZO2_CUDA:-AUTO}" &&
    cmake --build --preset release --target zo2
}

step "setup" setup
step "build" build
failed=0
step "run" build/zo2 run experiments/quick.yaml --out "$out" || failed=$?
((failed == 0 || failed == 3)) || exit "$failed"  # 3: some cells failed, which the report shows
step "report" build/zo2 report "$out"
step "plots" python -m plots "$out"
build/zo2 report "$out" --html >"$out/report.html"
echo "== total $SECONDS s; records and plots are in $out; $out/report.html has all in one page"
exit "$failed"

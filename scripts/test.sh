#!/usr/bin/env bash
# Builds everything and runs every check, from nothing if need be. What CI runs (.ci/run).
#
#   bash scripts/test.sh [--quick] [--no-sanitizers]
#
# --quick           build and tests only: no sanitizers, no format and static checks
# --no-sanitizers   all but the sanitizer builds
# ZO2_CUDA=OFF      without CUDA; ZO2_CACHE: see setup.sh; ZO2_SHARED: the reference models (default ../shared if there)
#
# A failed check does not keep the others from running; a failed build does. The last line counts tests and checks.
set -euo pipefail
cd "$(dirname "$0")/.."

sanitizers=yes static_checks=yes
for argument in "$@"; do
  case $argument in
    --quick) sanitizers=no static_checks=no ;;
    --no-sanitizers) sanitizers=no ;;
    *) echo "usage: scripts/test.sh [--quick] [--no-sanitizers]" >&2; exit 2 ;;
  esac
done

jobs=$(nproc)
passed=0 failed=0 skipped=0
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT

# stage NAME COMMAND...: runs, times and counts it. A command that leaves JUnit reports in $reports/current counts as its
# tests, any other as one check.
stage() {
  local name=$1 start=$SECONDS code=0 counts
  shift
  echo "== $name"
  rm -rf "$reports/current" && mkdir "$reports/current"
  "$@" || code=$?
  counts=$(python - "$code" "$reports"/current/*.xml <<'PYTHON'
import os, sys, xml.etree.ElementTree as xml
total = failed = skipped = 0
for path in filter(os.path.exists, sys.argv[2:]):
    for suite in xml.parse(path).getroot().iter("testsuite"):
        count = lambda name: int(suite.get(name, 0))
        total += count("tests")
        failed += count("failures") + count("errors")
        skipped += count("skipped") + count("disabled")
if total == 0 or (sys.argv[1] != "0" and failed == 0):  # one check, or a crash that no report tells of
    total, failed = total + 1, failed + (sys.argv[1] != "0")
print(total - failed - skipped, failed, skipped)
PYTHON
  )
  read -r p f s <<<"$counts"
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  echo "-- $name: $( ((f)) && echo FAILED || echo ok), $((SECONDS - start)) s"
  return "$code"
}

finish() {
  echo "== total $SECONDS s"
  echo "$passed passed, $failed failed, $skipped skipped"
  exit $((failed > 0))
}

setup() { source scripts/setup.sh --dev; }

build() {  # PRESET [TARGET...]
  local preset=$1
  shift
  cmake --preset "$preset" -DZO2_TORCH_DIR="$ZO2_TORCH_DIR" ${cuda_option[@]+"${cuda_option[@]}"} >"$reports/configure.log" 2>&1 ||
    { cat "$reports/configure.log"; return 1; }
  grep -E 'CUDA: ' "$reports/configure.log" || true
  cmake --build --preset "$preset" ${1:+--target "$@"}
}

unit_tests() { ctest --test-dir build --output-on-failure -j "$jobs" --timeout 600 --output-junit "$reports/current/ctest.xml"; }

python_tests() { python -m pytest -q -p no:cacheprovider --junit-xml="$reports/current/pytest.xml" "${python_test_folders[@]}"; }

# Long comparisons of many runs or plans and tests of statistics: they say nothing new about memory and threads, and are
# many times slower under a sanitizer.
long_tests='*Statistics*:Streams.*:All/Equality*:Equality.InFp32*:Equality.Untied*:Resume.Stopped*:Schedule.IsSoundForEveryScheme:CheckSchedule.FindsEvery*'

# Builds the test programs of these layers with a sanitizer and runs each as one process.
sanitized_tests() {  # PRESET LAYER...
  local preset=$1 layer targets=() run=() code=0
  shift
  # Where a process may ask for it, addresses are not randomised: older thread sanitizers fail with much randomness.
  if setarch "$(uname -m)" -R true 2>/dev/null; then run=(setarch "$(uname -m)" -R); fi
  for layer in "$@"; do
    compgen -G "tests/$layer/*_test.cpp" >/dev/null && targets+=("${layer}_test")
  done
  ((${#targets[@]})) || return 0
  build "$preset" "${targets[@]}" || return
  for target in "${targets[@]}"; do
    "${run[@]}" "build-$preset/tests/$target" --gtest_brief=1 --gtest_filter="-$long_tests" --gtest_output="xml:$reports/current/$target.xml" || code=1
  done
  return "$code"
}

formatting() {
  git ls-files -co --exclude-standard '*.h' '*.cpp' '*.cu' | xargs clang-format --dry-run -Werror 2>"$reports/format.err" && return
  grep -o '^[^: ]*\.\(h\|cpp\|cu\):' "$reports/format.err" | sort -u | sed 's/:$/: differs from clang-format/'
  return 1
}

# The sources that do without LibTorch: its headers take a minute a file.
lint() {
  local code=0
  python - <<'PYTHON' |
import json
for entry in json.load(open("build/compile_commands.json")):
    if "/src/" in entry["file"] and entry["file"].endswith(".cpp") and "torch/include" not in entry["command"]:
        print(entry["file"])
PYTHON
    timeout 600 xargs -P "$jobs" -n 1 clang-tidy -p build --quiet 2>"$reports/tidy.err" || code=$?
  ((code == 0)) || grep -v ' warnings generated' "$reports/tidy.err" || true
  if ((code == 124)); then
    echo "SKIPPED the rest after ten minutes"
    skipped=$((skipped + 1)) code=0
  fi
  return "$code"
}

plain_layers=(base noise program model store experiment)
cuda_option=(-DZO2_CUDA="${ZO2_CUDA:-AUTO}")
if [[ -z "${ZO2_SHARED:-}" && -d ../shared ]]; then
  ZO2_SHARED=$(cd ../shared && pwd)
  export ZO2_SHARED
fi

start=$SECONDS
echo "== setup"
setup
echo "-- setup: $((SECONDS - start)) s"

stage "build" build release || finish
stage "unit tests" unit_tests || true

mapfile -t python_test_folders < <(git ls-files -co --exclude-standard '*/test_*.py' '*_test.py' | cut -d/ -f1 | sort -u)
if ((${#python_test_folders[@]})); then stage "python tests" python_tests || true; fi

if [[ $static_checks == yes ]]; then
  for check in "clang-format formatting" "clang-tidy lint"; do
    read -r tool function <<<"$check"
    if command -v "$tool" >/dev/null; then
      stage "$tool" "$function" || true
    else
      echo "== $tool: SKIPPED (not installed)"
      skipped=$((skipped + 1))
    fi
  done
fi

if [[ $sanitizers == yes ]]; then
  cuda_option=()
  export ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
  # One OpenMP thread: the thread sanitizer does not see what LibTorch's OpenMP synchronises.
  export OMP_NUM_THREADS=1
  stage "address and undefined behaviour sanitizers" sanitized_tests asan "${plain_layers[@]}" runtime task || true
  stage "thread sanitizer" sanitized_tests tsan runtime optimizer || true
fi
finish

#!/usr/bin/env bash
# Everything that is measured on a GPU, in one go: tests, sanitizers, benchmarks and the experiments; leaves the records.
#
#   bash scripts/gpu.sh [OUT] [STAGE...]          # default: out/gpu and all stages
#
# Stages: tests sanitizer ballast benchmarks equality memory_table throughput waterfall. About 25 minutes on an H100 with
# 16 cores and 128 GB of host memory. A failed stage does not keep the others from running.
# ZO2_BUNDLE  a folder that scripts/bundle.sh made (with zo2, runtime_test, optimizer_test, device_benchmark and
#             link_benchmark): run what lies there instead of building
# ZO2_SET     more settings for every experiment, say "-S train.steps=6"
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-out/gpu}
mkdir -p "$out" && out=$(cd "$out" && pwd)
shift || true
stages=("$@")
((${#stages[@]})) || stages=(tests sanitizer ballast benchmarks equality memory_table throughput waterfall)

# command_of NAME: sets `command` to the words that start a program.
if [[ -n "${ZO2_BUNDLE:-}" ]]; then
  bundle=$(cd "$ZO2_BUNDLE" && pwd)
  command_of() { command=("$bundle/run" "$1"); }
  export ZO2_EXPERIMENTS=$bundle/experiments
else
  source "$root/scripts/setup.sh" || exit 1
  cmake -G Ninja -S "$root" -B "$root/build" -DZO2_TORCH_DIR="$ZO2_TORCH_DIR" -DZO2_CUDA=ON &&
    cmake --build "$root/build" || exit 1
  command_of() { command=("$(find "$root/build" -name "$1" -type f -perm -u+x | head -1)"); }
  export ZO2_EXPERIMENTS=$root/experiments
fi
program() { command_of "$1" && "${command[@]}" "${@:2}"; }

tests() {
  program runtime_test --gtest_filter='Cuda*' >"$out/runtime_test.log" 2>&1
  local code=$?
  ZO2_TEST_DEVICE=cuda program optimizer_test >"$out/optimizer_test.log" 2>&1 || code=1
  tail -n 3 "$out"/{runtime,optimizer}_test.log
  return $code
}

# Every kernel of ours by the unit tests, and whole training runs on a tiny model. The tool follows children: the bundle's
# wrapper starts the program.
sanitizer() {
  command -v compute-sanitizer >/dev/null || { echo "no compute-sanitizer here"; return 1; }
  local code=0 tool log
  for tool in memcheck racecheck; do
    log=$out/sanitizer_$tool.log
    for run in 'runtime_test --gtest_filter=CudaVisit.*:CudaLayers.L*:CudaLayers.E*' \
      'optimizer_test --gtest_filter=Device.LossesAgree*:Equality.PostNorm*'; do
      command_of "${run%% *}"
      ZO2_TEST_DEVICE=cuda timeout 150 compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 \
        "${command[@]}" "${run#* }" || code=1
    done >"$log" 2>&1
    grep -E "ERROR SUMMARY|RACECHECK SUMMARY|PASSED|FAILED|Error:" "$log"
  done
  return $code
}

# Another process takes all device memory but some 1,100 MiB; a run that is bound by what is left must not need more.
ballast() {
  command_of zo2
  python3 "$root/scripts/ballast.py" 1100 "${command[@]}" train --model opt-1.3b --device cuda --dtype fp16 --seq 512 \
    --steps 6 --gpu-memory '{left} MiB' 2>&1 | tee "$out/ballast.log"
}

benchmarks() {
  local name
  for name in device link; do
    program ${name}_benchmark --benchmark_out="$out/${name}_benchmark.json" --benchmark_out_format=json \
      >"$out/${name}_benchmark.log" 2>&1 || return 1
  done
  python3 - "$out" <<'PYTHON'
import json, sys
for name in ("device", "link"):
    for run in json.load(open(f"{sys.argv[1]}/{name}_benchmark.json"))["benchmarks"]:
        rates = {key: value for key, value in run.items() if key.endswith(("/s", "GBps"))}
        print(run["name"].removesuffix("/manual_time"), {key: f"{value:.4g}" for key, value in rates.items()})
PYTHON
}

experiment() {
  # shellcheck disable=SC2086 # several words
  program zo2 run "$ZO2_EXPERIMENTS/$1.yaml" --out "$out/$1" ${ZO2_SET:-}
  local code=$?
  program zo2 report "$out/$1" >"$out/$1.txt" 2>&1 || code=1
  return $code
}

program zo2 doctor
failed=()
for stage in "${stages[@]}"; do
  start=$SECONDS
  echo "== $stage"
  case $stage in
    tests | sanitizer | ballast | benchmarks) "$stage" ;;
    *) experiment "$stage" ;;
  esac || failed+=("$stage")
  echo "-- $stage: $((SECONDS - start)) s"
done
((${#failed[@]})) || { echo "all stages passed; records in $out"; exit 0; }
echo "failed: ${failed[*]}; records in $out"
exit 1

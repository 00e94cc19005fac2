#!/usr/bin/env bash
# Installs what the build needs and this machine lacks: Debian packages, a Python environment (with LibTorch, cmake
# and ninja), and nvcc from PyPI where there is no CUDA toolkit. Safe to repeat; from the second time on it takes a second.
#
#   source scripts/setup.sh           # and puts cmake, ninja, python and nvcc on the path of this shell
#   bash scripts/setup.sh [--dev]     # installs only and prints the exports; --dev: also what scripts/test.sh runs
#
# ZO2_CACHE  where environments live (default ~/.cache/zo2): outside the clone, so that every clone shares them
# ZO2_CUDA   OFF: no CUDA compiler is looked for
#
# Messages go to standard error, `export` lines to standard output.
if [[ "${BASH_SOURCE[0]}" != "$0" ]]; then
  # Sourced: work in a child, which keeps `set -e` and the functions below out of the caller's shell.
  if ! zo2_exports=$(bash "${BASH_SOURCE[0]}" "$@"); then return 1; fi
  eval "$zo2_exports"
  unset zo2_exports
  return 0
fi
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${ZO2_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zo2}

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

packages=(g++ git ca-certificates python3 python3-venv ccache libfmt-dev libyaml-cpp-dev libcli11-dev
  nlohmann-json3-dev libspdlog-dev libssl-dev zlib1g-dev libzstd-dev libgtest-dev libbenchmark-dev)
dev=no
if [[ "${1:-}" == --dev ]]; then
  dev=yes
  packages+=(clang)  # the noise tests compare compilers
fi

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "not Debian or Ubuntu: make sure that the counterparts of these are installed: ${packages[*]}"
    return
  fi
  local missing=() package
  for package in "${packages[@]}"; do
    [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  local as_root=()
  if ((EUID != 0)); then
    as_root=(sudo -n)
    sudo -n true 2>/dev/null || fail "these packages are missing, and installing them takes root:
  sudo apt-get install ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update >&2
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 || { tail -20 "$log" >&2; fail "apt-get failed"; }
}

# cached_name PREFIX FILE...: the path in the cache that belongs to the contents of these files.
cached_name() {
  local prefix=$1
  shift
  echo "$cache/$prefix-$(cat "$@" | sha256sum | cut -c1-16)"
}

# once PATH COMMAND...: runs COMMAND to fill PATH unless that was done before. The lock makes two clones take turns; the
# marker, written last, makes a killed attempt start over. (Renaming a finished copy into place would be simpler, but
# a Python environment cannot be moved.)
once() {
  local path=$1
  shift
  [[ -e "$path/.complete" ]] && return
  (
    flock 9
    [[ -e "$path/.complete" ]] && exit
    rm -rf "$path"
    "$@" || exit 1
    touch "$path/.complete"
  ) 9>"$path.lock"
}

prepend_path() {  # moves DIR to the front of PATH
  local rest=:$PATH:
  rest=${rest//:$1:/:}
  PATH=$1${rest%:}
}

install_venv() {  # PATH REQUIREMENTS
  python3 -m venv "$1" && "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2" >&2
}

# A CUDA toolkit from PyPI: the compiler's packages, and links to the headers and libraries of the torch wheel, laid
# out as nvcc and CMake expect.
install_nvcc() {  # PATH
  local toolkit=$1/nvidia/cu13 wheel
  wheel=$(dirname "$ZO2_TORCH_DIR")/nvidia/cu13
  python -m pip install --quiet --disable-pip-version-check --no-deps --target "$1" -r "$root/requirements-cuda.txt" >&2 &&
    cp -rsn "$wheel/include/." "$toolkit/include/" &&
    cp -rsn "$wheel/lib/." "$toolkit/lib/" &&
    ln -s libcudart.so.13 "$toolkit/lib/libcudart.so" &&
    ln -s lib "$toolkit/lib64"
}

# Prints the nvcc of this machine if it is of the release that LibTorch is built with: code of another release can
# not share a process with LibTorch's CUDA runtime.
find_nvcc() {
  local release candidate
  release=$(sed -n 's/^nvidia-cuda-nvcc==\([0-9]*\.[0-9]*\).*/\1/p' "$root/requirements-cuda.txt")
  for candidate in "${CUDACXX:-}" "$(command -v nvcc)" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" /usr/local/cuda/bin/nvcc; do
    if [[ -x "$candidate" ]] && "$candidate" --version | grep -q "release $release,"; then
      echo "$candidate"
      return
    fi
  done
}

mkdir -p "$cache"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install_packages
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "$(python3 --version) is too old: the python3 on the path must be 3.10 or newer"

if [[ $dev == yes ]]; then
  tools=$(cached_name dev "$root/requirements-dev.txt")
  once "$tools" install_venv "$tools" "$root/requirements-dev.txt" || say "clang-format and clang-tidy could not be installed"
  prepend_path "$tools/bin"
fi

venv=$(cached_name venv "$root/requirements.txt")
[[ -x "$venv/bin/python" ]] || rm -f "$venv/.complete"  # its interpreter left with an upgrade of the system
[[ -e "$venv/.complete" ]] || say "installing the Python environment (5 GB) in $venv"
once "$venv" install_venv "$venv" "$root/requirements.txt" || fail "the Python environment could not be installed"
prepend_path "$venv/bin"  # last, so that its python comes first
export VIRTUAL_ENV=$venv
export ZO2_TORCH_DIR
ZO2_TORCH_DIR=$(python -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])")

if [[ "${ZO2_CUDA:-}" != OFF ]]; then
  CUDACXX=$(find_nvcc)
  if [[ -z "$CUDACXX" ]]; then
    nvcc=$(cached_name cuda "$root/requirements.txt" "$root/requirements-cuda.txt")
    [[ -e "$nvcc/.complete" ]] || say "installing nvcc from PyPI in $nvcc"
    if once "$nvcc" install_nvcc "$nvcc"; then
      CUDACXX=$nvcc/nvidia/cu13/bin/nvcc
    else
      say "nvcc could not be installed: the build will be without CUDA"
    fi
  fi
  export CUDACXX
fi

for name in PATH VIRTUAL_ENV ZO2_TORCH_DIR CUDACXX; do
  [[ -z "${!name:-}" ]] || printf 'export %s=%q\n' "$name" "${!name}"
done

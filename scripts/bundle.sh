#!/usr/bin/env bash
# Copies what was built to DIR, to be carried to a machine that has a torch wheel of the same version and no compiler.
#
#   bash scripts/bundle.sh DIR [PROGRAM...]    # zo2, and more programs by name, say noise_benchmark runtime_test
#   DIR/run zo2 doctor                         # there, from any folder
#
# It holds the programs, experiments/, plots/, and every shared library but LibTorch's, NVIDIA's and the C and C++ run
# times. glibc is the one thing that it takes from that machine: build on a system no newer than that one.
set -euo pipefail
(($#)) || { echo "usage: scripts/bundle.sh DIR [PROGRAM...]" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
source scripts/setup.sh

unpath=$(mktemp)
trap 'rm -f "$unpath"' EXIT
echo 'file(RPATH_REMOVE FILE $ENV{FILE})' >"$unpath"

rm -rf "$dir"/{bin,lib,experiments,plots}
mkdir "$dir"/{bin,lib}
for program in zo2 "$@"; do
  path=$(find build -name "$program" -type f -perm -u+x | head -1)
  [[ -n "$path" ]] || { echo "bundle: build holds no program '$program': build it first" >&2; exit 1; }
  cp "$path" "$dir/bin/"
  # LibTorch is found by `run`, on that machine; the paths of this one would only mislead.
  FILE=$dir/bin/$program cmake -P "$unpath" >/dev/null
  ldd "$path" | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}'
done | sort -u | while read -r name library; do
  case $name:$library in
    */torch/lib/* | */nvidia/*) ;;
    ld-linux* | libc.so* | libm.so* | libmvec.so* | libdl.so* | librt.so* | libpthread.so* | libutil.so* | libresolv.so*) ;;
    libstdc++.so* | libgcc_s.so* | libgomp.so*) ;;  # of every system; libgomp comes with LibTorch
    *) cp -L "$library" "$dir/lib/$name" ;;
  esac
done
for folder in experiments plots; do
  git ls-files -co --exclude-standard -z "$folder" | xargs -0r cp --parents -t "$dir"
done
cp build/zo2.commit "$dir/bin/"
sed -n "s/^__version__ = '\([^+']*\).*/\1/p" "$ZO2_TORCH_DIR/version.py" >"$dir/torch_version"

cat >"$dir/run" <<'RUN'
#!/usr/bin/env bash
# run PROGRAM [ARGUMENT...]: a program of bin/, with the LibTorch of this machine's python3 (or of $PYTHON).
set -euo pipefail
dir=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
fail() { echo "run: $*" >&2; exit 2; }
(($#)) || fail "usage: run PROGRAM [ARGUMENT...], with one of: $(ls "$dir/bin" | xargs)"
[[ -x "$dir/bin/$1" ]] || fail "there is no program '$1', only: $(ls "$dir/bin" | xargs)"
python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "there is no $python; set PYTHON to the one that has torch"
torch=$("$python" -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')")
wanted=$(cat "$dir/torch_version")
[[ -n "$torch" ]] || fail "$python has no torch: pip install torch==$wanted, or set PYTHON"
found=$(sed -n "s/^__version__ = '\([^+']*\).*/\1/p" "$torch/version.py")
[[ "$found" == "$wanted" ]] || fail "built for torch $wanted, but $torch is $found: LibTorch's interface differs between versions"
libraries=$dir/lib:$torch/lib
for folder in "$(dirname "$torch")"/nvidia/*/lib; do [[ ! -d "$folder" ]] || libraries+=:$folder; done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
exec "$dir/bin/$1" "${@:2}"
RUN
chmod +x "$dir/run"
echo "bundle: $(du -sh "$dir" | cut -f1) in $dir: $(ls "$dir/bin" | xargs); libraries: $(ls "$dir/lib" | xargs)"

#!/usr/bin/env bash
# All that a machine with a GPU can say, in one bounded run: builds the programs, runs the kernels' tests on the device, the probe and
# the bench with its peers. Each part has its own limit, so that one that fails or hangs costs the others nothing. OUT gets few files, for
# a lent machine gives few back: session.log with what every part wrote, and a JSON document of each program, with what it measured until
# it ended. The last lines are a table of the parts; the status is that of the worst.
# Usage, in the project's root: OUT=folder bash bench/gpu-session.sh      (default build/gpu-session)
# ARCHITECTURES (90a-real), PYTHON with torch (python3; "none": no peers), BUILD (build/gpu), SECONDS_LEFT (570) for everything, and
# CUBLAS_LIBRARY_DIR (that of PYTHON's wheels).
set -uo pipefail
out=${OUT:-build/gpu-session} build=${BUILD:-build/gpu} python=${PYTHON:-python3} architectures=${ARCHITECTURES:-90a-real}
deadline=$(($(date +%s) + ${SECONDS_LEFT:-570}))
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
rm -f "$out"/{gpu-probe,gpu-kernels,gpu-peers,report}.json  # of an earlier run
: >"$out/session.log"
status=0
table=()

# row NAME SECONDS WHAT: a line of the table.
row() { table+=("$(printf '%-20s %4d s  %s' "$1" "$2" "$3")"); }

# part NAME SECONDS COMMAND...: within its limit and what is left of the whole. Leaves NAME.out and NAME.err in the work folder.
part() {
  local name=$1 limit=$2 began left code=124
  shift 2
  began=$(date +%s)
  left=$((deadline - began))
  : >"$work/$name.out" 2>"$work/$name.err"
  if [ "$left" -gt 1 ]; then
    timeout -k 5 $((left < limit ? left : limit)) "$@" >"$work/$name.out" 2>"$work/$name.err"
    code=$?
  fi
  { echo "== $name: status $code" && cat "$work/$name.err" "$work/$name.out"; } >>"$out/session.log"
  row "$name" $(($(date +%s) - began)) "$([ $code = 0 ] && echo done || echo "status $code")"
  [ $code = 0 ] || { status=1; tail -n 5 "$work/$name.err"; }
  return $code
}

# facts NAME: a document of the JSON lines of a program, each of which is a fact, however the program ended.
facts() {
  grep '^{.*}$' "$work/$1.out" >"$work/facts" && echo "[$(paste -sd, "$work/facts")]" >"$out/gpu-$1.json"
}

part device 20 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || {
  echo "gpu-session: expected a GPU, got none: nothing is measured" >&2
  exit 1
}
# Where there is ninja there may be no make.
command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
if [ -z "${CUBLAS_LIBRARY_DIR:-}" ] && [ "$python" != none ]; then
  found=$("$python" -c 'import glob, sysconfig
print(next(iter(sorted(glob.glob(sysconfig.get_paths()["purelib"] + "/nvidia/*/lib/libcublasLt.so.1*"))), ""))' 2>/dev/null)
  [ -z "$found" ] || export CUBLAS_LIBRARY_DIR="${found%/*}"
fi

programs=(device_tests gpu_probe gpu_kernels)
compile() { part "$1" 300 cmake --build "$build" --parallel "$(nproc)" --target "${@:2}"; }
part configure 90 cmake -S "$here/native" -B "$build" -DZAZEN_ADDON=OFF -DZAZEN_CUDA=ON \
  -DCMAKE_CUDA_ARCHITECTURES="$architectures" || programs=()
# At once, and after an error apart: one that does not compile keeps no other from running.
apart=no
[ ${#programs[@]} = 0 ] || compile build "${programs[@]}" || apart=yes
has() { [ ${#programs[@]} != 0 ] && { [ $apart = no ] || compile "build-$1" "$1"; }; }

has device_tests && part tests 120 "$build/device_tests"
has gpu_probe && {
  part probe 90 "$build/gpu_probe"
  facts probe
  # Without it the probe and the bench go on, but say nothing of the products that it would compute.
  grep -q '"cublasLt version"' "$work/probe.out" || { row cublasLt 0 "not seen by the probe"; status=1; }
}
has gpu_kernels && {
  part kernels 120 "$build/gpu_kernels"
  facts kernels
}
[ "$python" = none ] || {
  part peers 240 "$python" "$here/bench/peers/gpu_kernels.py" --repeats 10
  # The last document that is whole.
  grep '^{.*]}$' "$work/peers.out" | tail -n 1 >"$work/document"
  [ ! -s "$work/document" ] || cp "$work/document" "$out/gpu-peers.json"
}
if [ -s "$out/gpu-kernels.json" ] && command -v node >/dev/null; then
  peers=()
  [ -s "$out/gpu-peers.json" ] && peers=(--peers-from "$out/gpu-peers.json")
  part report 30 node "$here/bench/gpu-kernels.mjs" --facts-from "$out/gpu-kernels.json" "${peers[@]}" --json "$out/report.json"
  cat "$work/report.out"
fi
printf '%s\n' "${table[@]}" | tee -a "$out/session.log"
exit $status

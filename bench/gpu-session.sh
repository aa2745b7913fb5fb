#!/usr/bin/env bash
# All that a machine with a GPU can say, in one bounded run: builds the programs, runs the kernels' tests on the device, the probe and
# the bench with its peers. Each part has its own limit and leaves what it wrote in OUT, so that a part that fails or hangs costs the
# others nothing. The last lines are a table of the parts; the status is that of the worst.
# Usage, in the project's root: OUT=folder bash bench/gpu-session.sh      (default build/gpu-session)
# ARCHITECTURES (90a-real), PYTHON with torch (python3; "none": no peers), BUILD (build/gpu), SECONDS_LEFT (570) for everything.
set -uo pipefail
out=${OUT:-build/gpu-session} build=${BUILD:-build/gpu} python=${PYTHON:-python3} architectures=${ARCHITECTURES:-90a-real}
deadline=$(($(date +%s) + ${SECONDS_LEFT:-570}))
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$out"
status=0
table=()

# part NAME SECONDS COMMAND...: stdout to NAME.out, stderr to NAME.err, within its limit and what is left of the whole.
part() {
  local name=$1 limit=$2 left began code
  shift 2
  left=$((deadline - $(date +%s)))
  began=$(date +%s)
  if [ "$left" -le 1 ]; then
    code=124
  else
    timeout -k 5 $((left < limit ? left : limit)) "$@" >"$out/$name.out" 2>"$out/$name.err"
    code=$?
  fi
  table+=("$(printf '%-14s %4d s  %s' "$name" $(($(date +%s) - began)) "$([ $code = 0 ] && echo done || echo "status $code")")")
  [ $code = 0 ] || { status=1; tail -n 5 "$out/$name.err" 2>/dev/null; }
  return $code
}

part device 20 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || {
  echo "gpu-session: expected a GPU, got none: nothing is measured" >&2
  exit 1
}
part configure 90 cmake -S "$here/native" -B "$build" -DZAZEN_ADDON=OFF -DZAZEN_CUDA=ON \
  -DCMAKE_CUDA_ARCHITECTURES="$architectures" &&
  part build 300 cmake --build "$build" --target device_tests gpu_probe gpu_kernels --parallel "$(nproc)" && {
  part tests 120 "$build/device_tests" cuda
  part probe 90 "$build/gpu_probe" && tail -n 1 "$out/probe.out" >"$out/gpu-probe.json"
  part kernels 120 "$build/gpu_kernels" && tail -n 1 "$out/kernels.out" >"$out/gpu-kernels.json"
  [ "$python" = none ] || {
    part peers 240 "$python" "$here/bench/peers/gpu_kernels.py" --repeats 10 && tail -n 1 "$out/peers.out" >"$out/gpu-peers.json"
  }
  if [ -s "$out/gpu-kernels.json" ] && command -v node >/dev/null; then
    peers=()
    [ -s "$out/gpu-peers.json" ] && peers=(--peers-from "$out/gpu-peers.json")
    part report 30 node "$here/bench/gpu-kernels.mjs" --facts-from "$out/gpu-kernels.json" "${peers[@]}" --json "$out/report.json"
    cat "$out/report.out"
  fi
}
printf '%s\n' "${table[@]}"
exit $status

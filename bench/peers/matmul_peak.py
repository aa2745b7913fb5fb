"""The best matmul rate of PyTorch in float32 or bfloat16 on this machine, over shapes of a training step. The last line is one JSON document."""

import argparse
import json
import os
import sys
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--repeats", type=int, default=7)
parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch starts its thread pool

import torch  # noqa: E402

# y [M, N] = x [M, K] W^T: the linear layers of Qwen2.5-0.5B at 2,048 tokens, then square ones.
SHAPES = ((2048, 896, 896), (2048, 4864, 896), (2048, 896, 4864), (512, 4096, 4096), (1024, 1024, 1024), (2048, 2048, 2048),
          (4096, 4096, 1024))


def rate(m, n, k):
    """Best GFLOP/s, after checking one row against float64."""
    dtype = getattr(torch, options.dtype)
    x, w = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
    y = torch.nn.functional.linear(x, w)
    tolerance = dict(rtol=1e-3, atol=1e-3) if options.dtype == "float32" else dict(rtol=2e-2, atol=0.5)
    torch.testing.assert_close(y[0].double(), w.double() @ x[0].double(), **tolerance)
    best = float("inf")
    for _ in range(options.repeats):
        began = time.perf_counter()
        torch.nn.functional.linear(x, w)
        best = min(best, time.perf_counter() - began)
    return 2 * m * n * k / best / 1e9


def main():
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rates = []
    with torch.inference_mode():
        for m, n, k in SHAPES:
            rates.append(dict(m=m, n=n, k=k, gflops=rate(m, n, k)))
            print(f"M {m} N {n} K {k}: {rates[-1]['gflops']:.0f} GFLOP/s", file=sys.stderr, flush=True)
    print(json.dumps(dict(bench="matmul_peak", dtype=options.dtype, threads=options.threads, repeats=options.repeats,
                          torch=torch.__version__, gflops=max(r["gflops"] for r in rates), shapes=rates)))


main()

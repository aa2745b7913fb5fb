"""What PyTorch takes for the CUDA kernels' work, in eager mode and by torch.compile. The last line is one JSON document.

Cases have the names and shapes of bench/gpu-kernels. A compiled function must agree with the eager one. After each group of cases
a document of all so far is written, so that an error or a limit of time costs the cases after it alone; with an error the status
is 1. --quick takes small shapes and few repetitions, to try the script; with --device cpu it does so without a GPU.
"""

import argparse
import json
import signal
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--repeats", type=int, default=20)
parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
options = parser.parse_args()
if options.device == "cuda" and not torch.cuda.is_available():
    sys.exit("gpu_kernels.py: PyTorch sees no GPU; --device cpu --quick tries the script without one")
device = torch.device(options.device)
repeats = 2 if options.quick else options.repeats
BF16 = torch.bfloat16
LAYERS = {"qwen2.5-7b qkv": (4608, 3584), "qwen2.5-7b out": (3584, 3584), "qwen2.5-7b up": (18944, 3584),
          "qwen2.5-7b down": (3584, 18944), "llama-3.1-8b qkv": (6144, 4096), "llama-3.1-8b out": (4096, 4096),
          "llama-3.1-8b up": (14336, 4096), "llama-3.1-8b down": (4096, 14336)}
BEYOND_CACHES = 512 << 20
results = []


def size(whole, quick):
    return quick if options.quick else whole


def seconds_of(call):
    """Median seconds of a call, after two that are not counted."""
    times = []
    for turn in range(repeats + 2):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            call()
            end.record()
            end.synchronize()
            seconds = begin.elapsed_time(end) / 1e3
        else:
            began = time.perf_counter()
            call()
            seconds = time.perf_counter() - began
        if turn >= 2:
            times.append(seconds)
    return statistics.median(times)


def record(case, shape, dtype, peer, call):
    seconds = seconds_of(call)
    results.append({"case": case, "shape": shape, "dtype": dtype, "peer": peer, "seconds": seconds})
    print(f"{case}, {shape}, {dtype}, {peer}: {seconds * 1e3:.3f} ms", file=sys.stderr, flush=True)


def check_close(got, want, tolerance, strays):
    """Raises where more than a share `strays` of the values is further off than the tolerance, relative and absolute."""
    far = (~torch.isclose(got, want, rtol=tolerance, atol=tolerance)).sum().item()
    if far > strays * want.numel():
        raise AssertionError(f"{far} of {want.numel()} compiled values are further than {tolerance} from the eager ones")


def eager_and_compiled(case, shape, dtype, function, *arguments, tolerance=2e-2, strays=0.0):
    record(case, shape, dtype, "eager", lambda: function(*arguments))
    if not options.compile:
        return
    compiled = torch.compile(function, dynamic=False)
    for got, want in zip(torch.utils._pytree.tree_leaves(compiled(*arguments)),
                         torch.utils._pytree.tree_leaves(function(*arguments))):
        check_close(got, want, tolerance, strays)
        del got, want
    record(case, shape, dtype, "compile", lambda: compiled(*arguments))
    torch.compiler.reset()


def noise(*shape, dtype=torch.float32, low=-1.0, high=1.0):
    return torch.empty(shape, dtype=dtype, device=device).uniform_(low, high)


def gather(logits, ids):
    logits = logits.float()
    lse = torch.logsumexp(logits, -1)
    logp = logits.gather(-1, ids[:, None]).squeeze(-1) - lse
    entropy = lse - (torch.softmax(logits, -1) * logits).sum(-1)
    return logp, entropy


def loss_and_gradient(logp, old, advantages, ref, entropy, weights):
    logp, entropy = logp.detach().requires_grad_(), entropy.detach().requires_grad_()
    ratio = torch.exp(logp - old)
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    d = ref - logp
    loss = (weights * (0.1 * (torch.exp(d) - d - 1) - surrogate - 0.01 * entropy)).sum()
    return torch.autograd.grad(loss, (logp, entropy))


def group_advantages(rewards):
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True) + 1e-6)


def named():
    rows, vocabulary = size((8192, 152064), (4, 1000))
    with torch.no_grad():
        for dtype in (BF16, torch.float32):
            eager_and_compiled("logprob gather", f"{rows} x {vocabulary}", str(dtype).removeprefix("torch."), gather,
                               noise(rows, vocabulary, dtype=dtype, low=-8, high=8),
                               torch.randint(vocabulary, (rows,), device=device))
    tokens = size(100_000_000, 10_000)
    arrays = [noise(tokens) for _ in range(5)] + [torch.full((tokens,), 1e-3, device=device)]
    # Gradients are small, the entropy's 1e-5. At an edge of the clip the last bit of the ratio decides whether there is one.
    eager_and_compiled("policy loss", f"{tokens}", "float32", loss_and_gradient, *arrays, tolerance=1e-6, strays=1e-5)
    del arrays
    groups = size(12_500_000, 1000)
    with torch.no_grad():
        eager_and_compiled("group advantages", f"{groups} x 8", "float32", group_advantages, noise(groups, 8))


def rms_norm(x, w):
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w).to(BF16)


def rms_norm_gradient(x, w, dy, residual):
    rstd = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
    g = dy * w
    return residual + g * rstd - x * (rstd**3 * (g * x).mean(-1, keepdim=True))


def rope(x, cos, sin):
    first, second = x.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


def swiglu(gate, up):
    return F.silu(gate) * up


def swiglu_gradient(gate, up, dy):
    g, u = gate.float(), up.float()
    s = torch.sigmoid(g)
    return (dy * u * s * (1 + g * (1 - s))).to(BF16), (dy * g * s).to(BF16)


def rows():
    tokens, hidden, heads, head_dim, intermediate = size((32768, 3584, 28, 128, 18944), (16, 64, 2, 16, 128))
    x, dy, residual = noise(tokens, hidden), noise(tokens, hidden), noise(tokens, hidden)
    w = noise(hidden, dtype=BF16)
    with torch.no_grad():
        eager_and_compiled("rmsnorm forward", f"{tokens} x {hidden}", "bfloat16", rms_norm, x, w)
        eager_and_compiled("rmsnorm backward of the input", f"{tokens} x {hidden}", "float32", rms_norm_gradient, x, w,
                           dy, residual)
        del x, dy, residual
        angle = noise(tokens, 1, head_dim // 2, high=100)
        eager_and_compiled("rope", f"{tokens} x {heads} x {head_dim}", "bfloat16", rope,
                           noise(tokens, heads, head_dim, dtype=BF16), angle.cos(), angle.sin())
        gate, up = noise(tokens, intermediate, dtype=BF16), noise(tokens, intermediate, dtype=BF16)
        eager_and_compiled("swiglu forward", f"{tokens} x {intermediate}", "bfloat16", swiglu, gate, up)
        eager_and_compiled("swiglu backward", f"{tokens} x {intermediate}", "bfloat16", swiglu_gradient, gate, up,
                           noise(tokens, intermediate))
        del gate, up
    n = size(100_000_000, 10_000)
    weight = torch.nn.Parameter(noise(n))
    weight.grad = noise(n)
    record("adamw", f"{n}", "float32", "eager", torch.optim.AdamW([weight], lr=1e-3, fused=True).step)


def products():
    layers = size(LAYERS, {"small": (32, 64)})
    with torch.no_grad():
        for name, (n, k) in layers.items():
            for m in size((2048, 8192), (8,)):
                x, w = noise(m, k, dtype=BF16), noise(n, k, dtype=BF16)
                record("matmul, exact", f"{name}, M {m}", "bfloat16", "eager", lambda: F.linear(x, w))
            copies = size(-(-BEYOND_CACHES // (2 * n * k)), 2)
            weights = [noise(n, k, dtype=BF16) for _ in range(copies)]
            for m in size((1, 16, 64), (1,)):
                x, turn = noise(m, k, dtype=BF16), iter(range(1 << 30))
                record("matmul, skinny", f"{name}, M {m}", "bfloat16", "eager",
                       lambda: F.linear(x, weights[next(turn) % copies]))


def attention():
    heads, kv_heads, head_dim = size((28, 4, 128), (4, 2, 16))
    backends = dict(flash=SDPBackend.FLASH_ATTENTION, efficient=SDPBackend.EFFICIENT_ATTENTION,
                    cudnn=SDPBackend.CUDNN_ATTENTION)
    if device.type == "cpu":
        backends = dict(math=SDPBackend.MATH)
    for batch, length in size(((8, 1024), (2, 4096)), ((2, 32),)):
        q = noise(batch, heads, length, head_dim, dtype=BF16).requires_grad_()
        # Repeated, for not every backend takes groups of query heads.
        k, v = (noise(batch, kv_heads, length, head_dim, dtype=BF16).repeat_interleave(heads // kv_heads, 1).requires_grad_()
                for _ in range(2))
        dout = noise(batch, heads, length, head_dim, dtype=BF16)

        def forward_and_backward():
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(out, (q, k, v), dout)

        for name, backend in backends.items():
            with sdpa_kernel(backend):
                try:
                    record("attention forward and backward", f"{batch} x {length}", "bfloat16", f"sdpa {name}",
                           forward_and_backward)
                except RuntimeError as error:
                    print(f"sdpa {name}: {str(error).splitlines()[0]}", file=sys.stderr)


def main():
    # A limit of time ends a group like an error: through the document.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("gpu_kernels.py: told to stop"))
    torch.manual_seed(0)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    failed = []
    for part in (attention, products, rows, named):
        try:
            part()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        except Exception as error:
            failed.append(f"{part.__name__}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
        finally:
            print(json.dumps(dict(bench="gpu_kernels peers", torch=torch.__version__, cuda=torch.version.cuda, device=name,
                                  quick=options.quick, repeats=repeats, failed=failed, results=results)), flush=True)
    sys.exit(bool(failed))


main()

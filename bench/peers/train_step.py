"""Seconds of one training step in float32 or bfloat16 in PyTorch eager: transformers' LlamaForCausalLM, random weights and tokens, on the CPU.

A step is forward, mean cross-entropy, backward, gradient clipping and AdamW; attention is torch's fused sdpa, AdamW torch's
fused one. In bfloat16 weights, activations, gradients and moments are all bf16, as `model.to(torch.bfloat16)` has it. The last line
is one JSON document. Leaves out: data loading, torch.compile.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

# sequences x length is the batch; kv: key/value heads.
SHAPES = {
    "qwen2.5-0.5b": dict(hidden=896, layers=24, heads=14, kv=2, head_dim=64, mlp=4864, vocabulary=151936, tied=True,
                         sequences=8, length=256),
    "1m": dict(hidden=128, layers=5, heads=8, kv=4, head_dim=16, mlp=352, vocabulary=105, tied=True, sequences=8, length=256),
    "trial": dict(hidden=96, layers=3, heads=3, kv=3, head_dim=32, mlp=256, vocabulary=121, tied=False, sequences=16, length=96),
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--shape", choices=SHAPES, required=True)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, help="timed steps (default: 3 for the large shape, 50 for the small ones)")
parser.add_argument("--warmup", type=int, help="steps before timing (default: 1, or 10)")
parser.add_argument("--sequences", type=int, help="instead of the shape's own")
parser.add_argument("--length", type=int, help="instead of the shape's own")
parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch starts its thread pool

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

LEARNING_RATE = 1e-4


def make_model(shape):
    config = LlamaConfig(
        hidden_size=shape["hidden"], num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv"], head_dim=shape["head_dim"], intermediate_size=shape["mlp"],
        vocab_size=shape["vocabulary"], tie_word_embeddings=shape["tied"], max_position_embeddings=1024, rms_norm_eps=1e-5,
        attn_implementation="sdpa", dtype=options.dtype, use_cache=False,
    )
    return LlamaForCausalLM(config).to(getattr(torch, options.dtype)).train()


def train_step(model, optimizer, ids):
    """Loss of one step on ids [B, L]."""
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def measure(model, optimizer, ids, warmup, steps):
    losses, seconds = [], []
    for step in range(warmup + steps):
        began = time.perf_counter()
        losses.append(train_step(model, optimizer, ids))
        seconds.append(time.perf_counter() - began)
        print(f"step {step + 1} loss {losses[-1]:.4f} {seconds[-1]:.3f} s", file=sys.stderr, flush=True)
    return losses, seconds[warmup:]


def main():
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = SHAPES[options.shape]
    large = options.shape == "qwen2.5-0.5b"
    warmup = options.warmup if options.warmup is not None else 1 if large else 10
    steps = options.steps or (3 if large else 50)
    model = make_model(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    ids = torch.randint(0, shape["vocabulary"], (options.sequences or shape["sequences"], options.length or shape["length"]))
    losses, seconds = measure(model, optimizer, ids, warmup, steps)
    if losses[-1] >= losses[0]:  # the same batch every step
        raise SystemExit(f"expected the loss to fall, got {losses[0]} to {losses[-1]}")
    median = statistics.median(seconds)
    print(json.dumps(dict(
        bench="train_step", shape=options.shape, dtype=options.dtype, sequences=ids.shape[0], length=ids.shape[1],
        threads=options.threads, parameters=sum(p.numel() for p in model.parameters()), steps=steps, seconds=median,
        seconds_best=min(seconds), tokens_per_second=ids.numel() / median, loss_first=losses[0], loss_last=losses[-1],
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        torch=torch.__version__, transformers=transformers.__version__,
    )))


main()

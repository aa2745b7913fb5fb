"""Tokens a second of transformers.generate on the CPU: LlamaForCausalLM of Qwen2.5-0.5B's sizes, random weights and prompts.

Sampling at temperature 1 over the whole vocabulary with a KV cache, every sample as long as is asked for; prompts count. The last
line is one JSON document. Leaves out: torch.compile, log-probs of what is sampled.
"""

import argparse
import json
import os
import statistics
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--prompt", type=int, default=16)
parser.add_argument("--tokens", type=int, default=64)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--repeats", type=int, default=1)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch starts its thread pool

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402


def make_model():
    config = LlamaConfig(
        hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, head_dim=64,
        intermediate_size=4864, vocab_size=151936, tie_word_embeddings=True, max_position_embeddings=1024, rms_norm_eps=1e-5,
        attn_implementation="sdpa", dtype=options.dtype, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )
    return LlamaForCausalLM(config).to(getattr(torch, options.dtype)).eval()


def generate(model, ids):
    """Seconds of one call."""
    began = time.perf_counter()
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, temperature=1.0,
                         min_new_tokens=options.tokens, max_new_tokens=options.tokens)
    seconds = time.perf_counter() - began
    if out.shape[1] != options.prompt + options.tokens:
        raise SystemExit(f"expected {options.tokens} new tokens, got {out.shape[1] - options.prompt}")
    return seconds


def main():
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = make_model()
    ids = torch.randint(0, 151936, (options.batch, options.prompt))
    with torch.no_grad():
        generate(model, ids)
        seconds = statistics.median(generate(model, ids) for _ in range(options.repeats))
    print(json.dumps(dict(
        bench="decode", shape="qwen2.5-0.5b", dtype=options.dtype, batch=options.batch, prompt=options.prompt,
        tokens=options.tokens, threads=options.threads, seconds=seconds,
        tokens_per_second=options.batch * options.tokens / seconds, torch=torch.__version__,
        transformers=transformers.__version__,
    )))


main()

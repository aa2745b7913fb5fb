"""Writes a Llama folder of Hugging Face as a GGUF file in bf16 or f16, with a byte-level tokenizer, for llama.cpp.

Only what the benches need: a Llama without biases, tied or not, and a tokenizer.json of Qwen2.5's kind. Needs the package `gguf`.
"""

import argparse
import json
import os

import gguf
import numpy as np
import torch
from safetensors import safe_open

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", required=True, help="folder with config.json, model.safetensors and tokenizer.json")
parser.add_argument("--out", required=True, help="file to write")
parser.add_argument("--dtype", choices=("bf16", "f16"), default="bf16")
options = parser.parse_args()

NAMES = dict([
    ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
])
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def read(name):
    with open(os.path.join(options.model, name)) as file:
        return json.load(file)


def gguf_name(name):
    module = name.removesuffix(".weight")
    if module in TOP:
        return TOP[module] + ".weight"
    _, _, layer, rest = module.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.weight"


def interleaved(weight, heads):
    """Rows of a head in llama.cpp's order: the two halves that rotate together as neighbours."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_tokenizer(writer, vocabulary):
    model = read("tokenizer.json")["model"]
    added = read("tokenizer.json")["added_tokens"]
    tokens = [f"[PAD{i}]" for i in range(vocabulary)]
    types = [gguf.TokenType.UNUSED] * vocabulary
    for token, index in model["vocab"].items():
        tokens[index], types[index] = token, gguf.TokenType.NORMAL
    for token in added:
        tokens[token["id"]], types[token["id"]] = token["content"], gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_add_bos_token(False)


def main():
    config = read("config.json")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(options.out, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    end = config["eos_token_id"]
    writer.add_eos_token_id(end[0] if isinstance(end, list) else end)
    write_tokenizer(writer, config["vocab_size"])
    kind = gguf.GGMLQuantizationType.BF16 if options.dtype == "bf16" else gguf.GGMLQuantizationType.F16
    with safe_open(os.path.join(options.model, "model.safetensors"), framework="pt") as file:
        for name in file.keys():
            weight = file.get_tensor(name).to(torch.float32).numpy()
            if name.endswith("q_proj.weight"):
                weight = interleaved(weight, heads)
            if name.endswith("k_proj.weight"):
                weight = interleaved(weight, kv_heads)
            if weight.ndim == 1:
                writer.add_tensor(gguf_name(name), weight)
            else:
                writer.add_tensor(gguf_name(name), gguf.quants.quantize(np.ascontiguousarray(weight), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()

"""A small Llama in plain eager PyTorch for the trial: training on packed or right-padded rows, and sampling with a KV cache.

Written for speed on a few cores: one matmul for q, k, v and one for gate and up; rotary as one complex product (the interleaved
layout, which differs from rotate-half only by a permutation of a model trained from scratch); a static cache from which
finished rows are dropped. Leaves out what the trial does not need: grouped-query heads, prompts of unequal length, top-k.
"""

import torch
import torch.nn.functional as F
from torch import nn

KEEP_FRACTION = 0.8  # rows are dropped when at most this share of them is still running


class TinyLlama(nn.Module):
    def __init__(self, vocabulary, width=96, layers=3, heads=3, mlp=256, positions=160, eps=1e-5, theta=10000.0, std=0.02):
        super().__init__()
        self.width, self.heads, self.dim, self.eps = width, heads, width // heads, eps
        self.positions = positions
        self.embedding = nn.Parameter(torch.empty(vocabulary, width))
        self.head = nn.Parameter(torch.empty(vocabulary, width))
        self.final_norm = nn.Parameter(torch.ones(width))
        self.layers = nn.ModuleList(
            nn.ParameterDict(
                dict(
                    norm1=torch.ones(width), qkv=torch.empty(3 * width, width), out=torch.empty(width, width),
                    norm2=torch.ones(width), gate_up=torch.empty(2 * mlp, width), down=torch.empty(width, mlp),
                )
            )
            for _ in range(layers)
        )
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=std)
        frequency = theta ** (-torch.arange(0, self.dim, 2) / self.dim)
        angles = torch.arange(positions)[:, None] * frequency
        self.register_buffer("rotation", torch.polar(torch.ones_like(angles), angles)[:, None], persistent=False)

    def norm(self, x, weight):
        return F.rms_norm(x, (self.width,), weight, self.eps)

    def qkv(self, layer, x, rotation):
        """q, k, v [B, L, heads, D], rotated; rotation [.., L, 1, D / 2] complex."""
        fused = F.linear(self.norm(x, layer["norm1"]), layer["qkv"]).view(*x.shape[:2], 3 * self.heads, self.dim)
        qk, v = fused.split((2 * self.heads, self.heads), 2)
        qk = torch.view_as_real(torch.view_as_complex(qk.unflatten(-1, (-1, 2))) * rotation).flatten(-2)
        return *qk.chunk(2, 2), v

    def finish_layer(self, layer, x, attended):
        x = x + F.linear(attended, layer["out"])
        gate, up = F.linear(self.norm(x, layer["norm2"]), layer["gate_up"]).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, layer["down"])

    def forward(self, ids, positions=None, mask=None):
        """Hidden states [B, L, H] before the head. ids [B, L]; positions [B, L] and mask [B, 1, L, L] for packed rows."""
        rotation = self.rotation[: ids.shape[1]] if positions is None else self.rotation[positions]
        x = F.embedding(ids, self.embedding)
        for layer in self.layers:
            q, k, v = (t.transpose(1, 2) for t in self.qkv(layer, x, rotation))
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            x = self.finish_layer(layer, x, attended.transpose(1, 2).flatten(2))
        return self.norm(x, self.final_norm)

    def logits(self, hidden):
        return F.linear(hidden, self.head)

    def prefill(self, prompts, copies, length):
        """Logits [B * copies, V] after prompts [B, L], and caches of `length` positions; each prompt is computed once."""
        rows = prompts.shape[0] * copies
        caches, x = [], F.embedding(prompts, self.embedding)
        for layer in self.layers:
            q, k, v = (t.transpose(1, 2) for t in self.qkv(layer, x, self.rotation[: prompts.shape[1]]))
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            cache = [x.new_empty(rows, self.heads, length, self.dim) for _ in range(2)]
            for stored, values in zip(cache, (k, v)):
                stored[:, :, : prompts.shape[1]] = values.repeat_interleave(copies, 0)
            caches.append(cache)
            x = self.finish_layer(layer, x, attended.transpose(1, 2).flatten(2))
        last = self.norm(x[:, -1], self.final_norm)
        return self.logits(last).repeat_interleave(copies, 0), caches

    def decode(self, tokens, caches, position):
        """Logits [B, V] after tokens [B] at `position`, whose keys and values are added to the caches."""
        x, scale = F.embedding(tokens, self.embedding)[:, None], self.dim**-0.5
        for layer, (keys, values) in zip(self.layers, caches):
            q, k, v = self.qkv(layer, x, self.rotation[position])
            keys[:, :, position], values[:, :, position] = k[:, 0], v[:, 0]
            q = q.transpose(1, 2) * scale
            scores = torch.matmul(q, keys[:, :, : position + 1].transpose(2, 3)).softmax(-1)
            attended = torch.matmul(scores, values[:, :, : position + 1])
            x = self.finish_layer(layer, x, attended.view(-1, 1, self.width))
        return self.logits(self.norm(x[:, 0], self.final_norm))

    @torch.inference_mode()
    def sample(self, prompts, copies, new_tokens, end, pad, temperature=1.0):
        """Completions [B * copies, new_tokens], `pad` after `end`. temperature 0 is greedy."""
        start = prompts.shape[1]
        logits, caches = self.prefill(prompts, copies, start + new_tokens)
        out = torch.full((logits.shape[0], new_tokens), pad)
        rows = torch.arange(logits.shape[0])
        running = torch.ones_like(rows, dtype=torch.bool)
        for step in range(new_tokens):
            tokens = choose(logits, temperature)
            out[rows, step] = torch.where(running, tokens, pad)
            running &= tokens != end
            alive = int(running.sum())
            if alive == 0 or step + 1 == new_tokens:
                break
            if alive <= KEEP_FRACTION * len(rows):
                kept = running.nonzero()[:, 0]
                rows, tokens, running = rows[kept], tokens[kept], running[kept]
                caches = [[drop_rows(cache, kept, start + step) for cache in pair] for pair in caches]
            logits = self.decode(tokens, caches, start + step)
        return out


def drop_rows(cache, kept, used):
    """The kept rows moved to the front of the same memory; [B, heads, S, D] -> [len(kept), heads, S, D]."""
    cache[: len(kept), :, :used] = cache[kept, :, :used]
    return cache[: len(kept)]


def choose(logits, temperature):
    """One token a row by inverting the cumulative distribution, which costs a tenth of torch.multinomial."""
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = torch.softmax(logits / temperature, -1).cumsum(-1)
    threshold = torch.rand(len(logits), 1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).clamp_max_(logits.shape[1] - 1)[:, 0]

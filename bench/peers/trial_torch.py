"""The Countdown trial in plain eager PyTorch: SFT on flawed demonstrations, then GRPO on the verifier's reward.

The same model, data, batch sizes and schedules as the quickstart recipe, written to be fast on a few cores: packed SFT rows, sampling
with a static KV cache that drops finished rows, prompts computed once a group, GRPO batches sorted by length, fused AdamW.
GRPO takes one update a rollout, so the old log-probs are those of the update itself and the ratio is 1: none are recorded.
The last line is one JSON document. Leaves out: logging, checkpoints, resume, the control arms.
"""

import argparse
import json
import math
import os
import random
import sys
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--sft-steps", type=int, default=2280, help="of about 1,536 tokens; 2,280 are 3.5M tokens")
parser.add_argument("--grpo-steps", type=int, default=40)
parser.add_argument("--eval-problems", type=int, default=1024)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch starts its thread pool

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

import countdown  # noqa: E402
from countdown import PROMPT_TOKENS  # noqa: E402
from tiny_llama import TinyLlama  # noqa: E402

SFT = dict(lr=3e-3, final=0.05, warmup=50, tokens=1536, row=128)
GRPO = dict(lr=3e-4, warmup=5, prompts=24, samples=16, new_tokens=144, micro_batch_tokens=4096, eps=1e-6, clip=0.2)
BETAS = (0.9, 0.95)
MAX_NORM = 1.0


def log(text):
    print(text, file=sys.stderr, flush=True)


def update(model, optimizer, lr):
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM, foreach=True)
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


def draw_demonstrations(grouped, rng):
    found, tokens = [], 0
    while True:
        demonstration = countdown.demonstrate(countdown.draw(grouped, rng), rng)
        if tokens + len(demonstration) > SFT["tokens"] and found:
            return found
        found.append(demonstration)
        tokens += len(demonstration)


def pack(sequences):
    """First fit, longest first, into rows of SFT["row"]: ids, positions, sequence number, target weight, all [R, L]."""
    length, rows, room = SFT["row"], [], []
    for number, sequence in enumerate(sorted(sequences, key=len, reverse=True)):
        place = next((i for i, left in enumerate(room) if left >= len(sequence)), len(rows))
        if place == len(rows):
            rows.append(([], [], [], []))
            room.append(length)
        count, row = len(sequence), rows[place]
        row[0].extend(sequence)
        row[1].extend(range(count))
        row[2].extend([number] * count)
        row[3].extend([0] * (PROMPT_TOKENS - 1) + [1] * (count - PROMPT_TOKENS) + [0])
        room[place] -= count
    for row, left in zip(rows, room):
        for values, filler in zip(row, (countdown.PAD, 0, -1, 0)):
            values.extend([filler] * left)
    return torch.tensor(rows).transpose(0, 1)


CAUSAL = torch.ones(SFT["row"], SFT["row"], dtype=torch.bool).tril()


def sft_step(model, sequences):
    ids, positions, number, weight = pack(sequences)
    same = (number[:, None, :, None] == number[:, None, None, :]) & CAUSAL
    mask = torch.zeros(same.shape).masked_fill_(~same, -math.inf)
    hidden = model(ids, positions, mask).flatten(0, 1)
    places = weight.flatten().nonzero()[:, 0]  # the token that follows is a completion token
    loss = F.cross_entropy(model.logits(hidden[places]), ids.flatten()[places + 1])
    loss.backward()
    return loss.item()


def sft_rate(step):
    progress = (step + 1) / options.sft_steps
    cosine = SFT["final"] + (1 - SFT["final"]) * 0.5 * (1 + math.cos(math.pi * progress))
    return SFT["lr"] * min(1, (step + 1) / SFT["warmup"]) * cosine


def train_sft(model, grouped, rng):
    optimizer = torch.optim.AdamW(model.parameters(), betas=BETAS, weight_decay=0.0, fused=True)
    began, tokens, loss = time.perf_counter(), 0, math.nan
    for step in range(options.sft_steps):
        sequences = draw_demonstrations(grouped, rng)
        tokens += sum(map(len, sequences))
        loss = sft_step(model, sequences)
        update(model, optimizer, sft_rate(step))
        if (step + 1) % 200 == 0:
            log(f"sft {step + 1}/{options.sft_steps} loss {loss:.3f} {tokens / (time.perf_counter() - began):,.0f} tok/s")
    seconds = time.perf_counter() - began
    return dict(seconds=seconds, tokens=tokens, tokens_per_second=tokens / max(seconds, 1e-9), loss=loss)


def completions(sampled):
    """Token lists without padding, from [B, N]."""
    lengths = (sampled != countdown.PAD).sum(1).tolist()
    return [row[:length] for row, length in zip(sampled.tolist(), lengths)]


def group_advantages(rewards):
    """[G, n] -> [G, n] with unbiased deviation, and which groups have spread."""
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + GRPO["eps"]), rewards.amax(1) > rewards.amin(1)


def micro_batches(lengths):
    """Slices of sequences sorted by length, so that padded tokens stay below the limit."""
    start = 0
    while start < len(lengths):
        stop = start + 1
        while stop < len(lengths) and (stop + 1 - start) * (PROMPT_TOKENS + lengths[stop]) <= GRPO["micro_batch_tokens"]:
            stop += 1
        yield slice(start, stop)
        start = stop


def grpo_backward(model, prompts, sampled, advantages):
    """Adds the gradient of the clipped, token-mean loss; prompts [B, P], sampled [B, N] padded, advantages [B]."""
    lengths, order = (sampled != countdown.PAD).sum(1).sort()
    total, ids = lengths.sum(), torch.cat((prompts, sampled), 1)[order]
    advantages, lengths = advantages[order], lengths.tolist()
    for part in micro_batches(lengths):
        longest = lengths[part.stop - 1]
        targets = ids[part, PROMPT_TOKENS : PROMPT_TOKENS + longest]
        hidden = model(ids[part, : PROMPT_TOKENS + longest - 1])[:, PROMPT_TOKENS - 1 :]
        used = targets != countdown.PAD
        logp = -F.cross_entropy(model.logits(hidden[used]), targets[used], reduction="none")
        ratio = (logp - logp.detach()).exp()
        advantage = advantages[part, None].expand(-1, longest)[used]
        clipped = ratio.clamp(1 - GRPO["clip"], 1 + GRPO["clip"])
        (-torch.minimum(ratio * advantage, clipped * advantage).sum() / total).backward()
    return int(total)


def train_grpo(model, grouped, rng):
    optimizer = torch.optim.AdamW(model.parameters(), betas=BETAS, weight_decay=0.0, fused=True)
    seconds, tokens = dict(sampling=0.0, grading=0.0, training=0.0), dict(sampled=0, trained=0)
    rewards_seen, began = [], time.perf_counter()
    for step in range(options.grpo_steps):
        t0 = time.perf_counter()
        problems = [countdown.draw(grouped, rng) for _ in range(GRPO["prompts"])]
        prompts = torch.tensor([problem.prompt for problem in problems])
        sampled = model.sample(prompts, GRPO["samples"], GRPO["new_tokens"], countdown.END, countdown.PAD).clone()
        t1 = time.perf_counter()
        answers = completions(sampled)
        rewards = [countdown.grade(problems[i // GRPO["samples"]], answer) for i, answer in enumerate(answers)]
        t2 = time.perf_counter()
        advantages, spread = group_advantages(torch.tensor(rewards).view(-1, GRPO["samples"]))
        if spread.any():
            kept = spread.repeat_interleave(GRPO["samples"])
            repeated = prompts.repeat_interleave(GRPO["samples"], 0)[kept]
            trained = grpo_backward(model, repeated, sampled[kept], advantages.flatten()[kept])
            tokens["trained"] += trained + int(kept.sum()) * PROMPT_TOKENS
            update(model, optimizer, GRPO["lr"] * min(1, (step + 1) / GRPO["warmup"]))
        t3 = time.perf_counter()
        for name, value in zip(seconds, (t1 - t0, t2 - t1, t3 - t2)):
            seconds[name] += value
        tokens["sampled"] += sum(map(len, answers))
        rewards_seen.append(sum(rewards) / len(rewards))
        if (step + 1) % 5 == 0:
            log(f"grpo {step + 1}/{options.grpo_steps} reward {rewards_seen[-1]:.3f} sampling {t1 - t0:.2f} s training {t3 - t2:.2f} s")
    total = time.perf_counter() - began
    return dict(seconds=total, **{f"{k}_seconds": v for k, v in seconds.items()}, tokens=tokens,
                sampled_tokens_per_second=tokens["sampled"] / max(seconds["sampling"], 1e-9),
                trained_tokens_per_second=tokens["trained"] / max(seconds["training"], 1e-9),
                reward_first=rewards_seen[:1], reward_last=rewards_seen[-1:])


def evaluate(model, problems):
    """pass@1 sampled at temperature 1 and greedy, with mean attempts and completion length."""
    found = {}
    prompts = torch.tensor([problem.prompt for problem in problems])
    for name, temperature in (("sampled", 1.0), ("greedy", 0.0)):
        sampled = model.sample(prompts, 1, GRPO["new_tokens"], countdown.END, countdown.PAD, temperature)
        answers = completions(sampled)
        right = sum(countdown.grade(problem, answer) for problem, answer in zip(problems, answers))
        attempts = sum(answer.count(countdown.ID["x"]) + answer.count(countdown.ID["ok"]) for answer in answers)
        found[name] = dict(pass_at_1=right / len(problems), attempts=attempts / len(problems),
                           tokens=sum(map(len, answers)) / len(problems))
    log(f"held out {json.dumps(found)}")
    return found


def main():
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    grouped, held_out = countdown.make_problems(seed=0)
    held_out = random.Random(1).sample(held_out, options.eval_problems)
    model = TinyLlama(countdown.VOCABULARY)
    result = dict(bench="trial", threads=options.threads, seed=options.seed, torch=torch.__version__,
                  parameters=sum(p.numel() for p in model.parameters()), sft_steps=options.sft_steps,
                  grpo_steps=options.grpo_steps)
    result["sft"] = train_sft(model, grouped, rng)
    result["after_sft"] = evaluate(model, held_out)
    result["grpo"] = train_grpo(model, grouped, rng)
    result["after_grpo"] = evaluate(model, held_out)
    result["seconds"] = result["sft"]["seconds"] + result["grpo"]["seconds"]
    print(json.dumps(result))


main()

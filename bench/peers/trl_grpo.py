"""Seconds of a whole GRPO step of TRL's GRPOTrainer on a Llama checkpoint, f32 or bf16 on the CPU, whole or with adapters.

A step is 16 prompts x 8 completions of 128 new tokens at temperature 1, a reward that counts a letter, and one update without a
reference model (beta 0), all completions in one batch unless --micro-batch cuts it. The prompts are openings of a story, or with
--prompt-tokens those said again and again. The last line is one JSON document.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", required=True, help="checkpoint folder with config.json, model.safetensors and tokenizer.json")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--prompts", type=int, default=16)
parser.add_argument("--completions", type=int, default=8, help="a prompt")
parser.add_argument("--new-tokens", type=int, default=128)
parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
parser.add_argument("--lora-rank", type=int, default=0, help="adapters of all linear layers; 0 trains the weights")
parser.add_argument("--prompt-tokens", type=int, default=0)
parser.add_argument("--micro-batch", type=int, default=0, help="completions trained on at once; 0: all")
parser.add_argument("--warmup", type=int, default=2, help="steps before timing")
parser.add_argument("--steps", type=int, default=5, help="timed steps")
parser.add_argument("--learning-rate", type=float, default=1e-4)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch starts its thread pool
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import datasets  # noqa: E402
import torch  # noqa: E402
import peft  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

NAMES = ("Lily", "Tom", "Ben", "Anna", "Max", "Sue", "Tim", "Mia")
OPENINGS = ("Once upon a time, there was a little child named {}.", "One day, {} went to the park.")
LETTER = "e"


def letter_share(completions, **_):
    """Share of the characters of a completion that are LETTER."""
    return [text.count(LETTER) / max(len(text), 1) for text in completions]


class StepClock(TrainerCallback):
    """Wall time of each optimizer step, sampling and reward included."""

    def __init__(self):
        self.seconds, self.began = [], 0.0

    def on_step_begin(self, args, state, control, **_):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        self.seconds.append(time.perf_counter() - self.began)
        print(f"step {len(self.seconds)} {self.seconds[-1]:.2f} s", file=sys.stderr, flush=True)


def load_tokenizer(folder):
    file = os.path.join(folder, "tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, padding_side="left")
    names = ("<s>", "</s>") if "</s>" in tokenizer.get_vocab() else (None, "<|endoftext|>")
    tokenizer.bos_token, tokenizer.eos_token = names
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def prompt_of(text, tokenizer):
    """An opening, or its first --prompt-tokens tokens when it is said again and again."""
    length = options.prompt_tokens
    if length == 0:
        return text
    ids = tokenizer(" ".join([text] * length), add_special_tokens=False).input_ids[:length]
    text = tokenizer.decode(ids)
    if len(tokenizer(text, add_special_tokens=False).input_ids) != length:
        raise SystemExit(f"expected a prompt of {length} tokens")
    return text


def make_config(folder):
    completions = options.prompts * options.completions
    micro_batch = options.micro_batch or completions
    return GRPOConfig(
        output_dir=folder, use_cpu=True, bf16=options.dtype == "bfloat16", fp16=False, seed=0, report_to=[], logging_steps=1, save_strategy="no",
        disable_tqdm=True, gradient_checkpointing=False,
        per_device_train_batch_size=micro_batch, gradient_accumulation_steps=completions // micro_batch,
        num_generations=options.completions, max_completion_length=options.new_tokens, temperature=1.0, beta=0.0,
        learning_rate=options.learning_rate, max_steps=options.warmup + options.steps, max_grad_norm=1.0,
    )


def main():
    torch.set_num_threads(options.threads)
    clock = StepClock()
    tokenizer = load_tokenizer(options.model)
    prompts = [prompt_of(opening.format(name), tokenizer) for opening in OPENINGS for name in NAMES]
    rows = [dict(prompt=prompts[i % len(prompts)]) for i in range(options.prompts * (options.warmup + options.steps))]
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype), attn_implementation="sdpa")
    lora = peft.LoraConfig(r=options.lora_rank, lora_alpha=2 * options.lora_rank, target_modules="all-linear",
                           task_type="CAUSAL_LM") if options.lora_rank else None
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(model=model, reward_funcs=letter_share, args=make_config(folder), callbacks=[clock],
                              train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora)
        trainer.train()
    timed = clock.seconds[options.warmup :]
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    print(json.dumps(dict(
        bench="trl_grpo", threads=options.threads, prompts=options.prompts, completions=options.completions,
        new_tokens=options.new_tokens, prompt_tokens=options.prompt_tokens, dtype=options.dtype, lora_rank=options.lora_rank,
        micro_batch=options.micro_batch, peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, steps=len(timed), seconds=statistics.median(timed), seconds_best=min(timed),
        completion_tokens_mean=statistics.mean(entry["completions/mean_length"] for entry in history),
        reward_first=history[0]["reward"], reward_last=history[-1]["reward"], torch=torch.__version__,
        transformers=transformers.__version__, trl=trl.__version__,
    )))


main()

"""Seconds of a whole GRPO step of TRL's GRPOTrainer on a small Llama checkpoint, f32 on the CPU.

A step is 16 prompts x 8 completions of 128 new tokens at temperature 1, a reward that counts a letter, and one update without a
reference model (beta 0), all 128 completions in one batch. The prompts are openings of a story. The last line is one JSON document.
"""

import argparse
import json
import os
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
parser.add_argument("--warmup", type=int, default=2, help="steps before timing")
parser.add_argument("--steps", type=int, default=5, help="timed steps")
parser.add_argument("--learning-rate", type=float, default=1e-4)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch starts its thread pool
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import datasets  # noqa: E402
import torch  # noqa: E402
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
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"), padding_side="left",
                                        bos_token="<s>", eos_token="</s>")
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def make_config(folder):
    return GRPOConfig(
        output_dir=folder, use_cpu=True, bf16=False, fp16=False, seed=0, report_to=[], logging_steps=1, save_strategy="no",
        disable_tqdm=True, gradient_checkpointing=False,
        per_device_train_batch_size=options.prompts * options.completions, gradient_accumulation_steps=1,
        num_generations=options.completions, max_completion_length=options.new_tokens, temperature=1.0, beta=0.0,
        learning_rate=options.learning_rate, max_steps=options.warmup + options.steps, max_grad_norm=1.0,
    )


def main():
    torch.set_num_threads(options.threads)
    clock = StepClock()
    prompts = [opening.format(name) for opening in OPENINGS for name in NAMES]
    rows = [dict(prompt=prompts[i % len(prompts)]) for i in range(options.prompts * (options.warmup + options.steps))]
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="sdpa")
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(model=model, reward_funcs=letter_share, args=make_config(folder), callbacks=[clock],
                              train_dataset=datasets.Dataset.from_list(rows), processing_class=load_tokenizer(options.model))
        trainer.train()
    timed = clock.seconds[options.warmup :]
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    print(json.dumps(dict(
        bench="trl_grpo", threads=options.threads, prompts=options.prompts, completions=options.completions,
        new_tokens=options.new_tokens, steps=len(timed), seconds=statistics.median(timed), seconds_best=min(timed),
        completion_tokens_mean=statistics.mean(entry["completions/mean_length"] for entry in history),
        reward_first=history[0]["reward"], reward_last=history[-1]["reward"], torch=torch.__version__,
        transformers=transformers.__version__, trl=trl.__version__,
    )))


main()

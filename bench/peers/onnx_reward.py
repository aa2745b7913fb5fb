"""Scores of an ONNX reward model through onnxruntime: what a user of Python would write, texts sorted by length and padded in batches.

With --make it first writes the model: a LlamaForSequenceClassification of 8 layers, 384 wide, 28M parameters, random weights, and texts of 16 to
256 random tokens with their scores, one at a time, as ids.json. The last line is one JSON document.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument("--make", action="store_true")
parser.add_argument("--texts", type=int, default=96)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--batch-tokens", type=int, default=2048)
parser.add_argument("--rounds", type=int, default=3)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

VOCABULARY, PAD, SHORTEST, LONGEST = 32000, 0, 16, 256


def open_session():
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    return onnxruntime.InferenceSession(str(options.folder / "model.onnx"), settings, providers=["CPUExecutionProvider"])


def make():
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=512, pad_token_id=PAD, num_labels=1,
        attn_implementation="sdpa",
    )

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = LlamaForSequenceClassification(config)

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits

    names = ["input_ids", "attention_mask"]
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.onnx.export(
        Logits().eval(), kwargs={name: torch.ones(2, 7, dtype=torch.long) for name in names}, dynamo=True, opset_version=18,
        input_names=names, output_names=["logits"], dynamic_shapes={name: axes for name in names}, verbose=False,
    )
    program.save(str(options.folder / "model.onnx"))
    random = np.random.default_rng(0)
    ids = [random.integers(1, VOCABULARY, n).tolist() for n in random.integers(SHORTEST, LONGEST + 1, options.texts)]
    session = open_session()
    scores = [run(session, [own])[0].item() for own in ids]
    (options.folder / "ids.json").write_text(json.dumps(dict(ids=ids, scores=scores)))


def run(session, batch):
    """Scores [B] of one padded batch."""
    longest = max(map(len, batch))
    ids = np.full((len(batch), longest), PAD, np.int64)
    mask = np.zeros_like(ids)
    for row, own in enumerate(batch):
        ids[row, : len(own)], mask[row, : len(own)] = own, 1
    return session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0][:, 0]


def score(session, ids):
    scores = np.zeros(len(ids))
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    while order:
        count = max(1, options.batch_tokens // len(ids[order[0]]))
        places, order = order[:count], order[count:]
        scores[places] = run(session, [ids[i] for i in places])
    return scores


def main():
    if options.make:
        make()
    stored = json.loads((options.folder / "ids.json").read_text())
    session = open_session()
    worst = np.abs(score(session, stored["ids"]) - stored["scores"]).max()  # warms up
    if not worst < 1e-4:
        raise SystemExit(f"expected the scores of single texts, got some that are off by {worst}")
    times = []
    for _ in range(options.rounds):
        began = time.perf_counter()
        score(session, stored["ids"])
        times.append(time.perf_counter() - began)
    seconds = statistics.median(times)
    tokens = sum(map(len, stored["ids"]))
    print(json.dumps(dict(bench="onnx-reward", onnxruntime=onnxruntime.__version__, threads=options.threads, texts=len(stored["ids"]),
                          tokens=tokens, seconds=seconds, tokensPerSecond=tokens / seconds, times=times)))


main()

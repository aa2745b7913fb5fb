// Scores of an ONNX reward model through onnxruntime-node: texts of unlike lengths as ids, batched by length, through the process that runs the
// file. Needs `npm run build:ts` and a folder that bench/peers/onnx_reward.py --make wrote: model.onnx, ids.json. Scores are checked against
// those of Python in it. The last line is one JSON document.
//   node bench/onnx-reward.mjs --folder DIR [--threads 2] [--batch-tokens 2048] [--rounds 3] [--json FILE]
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { OnnxScorer } from "../dist/reward/model/onnx/scorer.js";
import { check, commit, finish, machine, median } from "./support.mjs";

const TOLERANCE = 1e-4; // of float32 sums in another order

const { values: flags } = parseArgs({
  options: {
    folder: { type: "string" },
    threads: { type: "string", default: "2" },
    "batch-tokens": { type: "string", default: "2048" },
    rounds: { type: "string", default: "3" },
    json: { type: "string" },
  },
});
check(flags.folder, "--folder: expected a folder of bench/peers/onnx_reward.py --make, got none");
const { ids, scores: wanted } = JSON.parse(readFileSync(join(flags.folder, "ids.json"), "utf8"));
const sequences = ids.map((own) => Int32Array.from(own));
const tokens = sequences.reduce((sum, { length }) => sum + length, 0);
const never = new AbortController().signal;

const scorer = await OnnxScorer.open({
  file: join(flags.folder, "model.onnx"),
  where: "bench",
  workers: 1,
  threads: Number(flags.threads),
  batchTokens: Number(flags["batch-tokens"]),
  timeoutMs: 600_000,
  padTokenId: 0,
  trials: sequences.slice(0, 2).sort((a, b) => a.length - b.length),
});
const scores = await scorer.score(sequences, never); // warms up
for (const [i, score] of scores.entries()) {
  check(Math.abs(score - wanted[i]) < TOLERANCE, `expected score ${wanted[i]} of text ${i}, got ${score}`);
}
const times = [];
for (let round = 0; round < Number(flags.rounds); round++) {
  const began = performance.now();
  await scorer.score(sequences, never);
  times.push((performance.now() - began) / 1000);
}
await scorer[Symbol.asyncDispose]();
const seconds = median(times);
const result = { bench: "onnx-reward", commit: commit(), machine: machine(), threads: Number(flags.threads) };
finish({ ...result, texts: sequences.length, tokens, seconds, tokensPerSecond: tokens / seconds, times }, flags.json);

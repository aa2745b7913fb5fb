// Seconds of a PPO step beside those of a GRPO step on the same samples, and of the critic's passes within it, which a clock around its
// engine measures: what PPO adds is the critic and nothing else. 16 prompts x 8 completions of 128 new tokens at temperature 1, a reward that
// counts a letter; the critic begins as the policy. The loops are the library's own, in turns. Needs `npm run build` and a model folder.
// node bench/ppo-step.mjs [--model DIR] [--threads N] [--steps N] [--warmup N] [--rounds N] [--prompts N] [--completions N]
//   [--new-tokens N] [--json FILE]
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Engine } from "../dist/engine/engine.js";
import { grpoPart, ppoPart } from "../dist/methods/settings.js";
import { Tokenizer } from "../dist/prompt/tokenizer.js";
import { trainPpo } from "../dist/train/ppo.js";
import { reinforce } from "../dist/train/reinforce.js";
import { Run } from "../dist/train/run.js";
import { check, commit, finish, machine, median, printTable, root } from "./support.mjs";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: join(root, "..", "shared", "models", "stories260k") },
    threads: { type: "string", default: String(availableParallelism()) },
    prompts: { type: "string", default: "16" },
    completions: { type: "string", default: "8" },
    "new-tokens": { type: "string", default: "128" },
    warmup: { type: "string", default: "1" },
    steps: { type: "string", default: "6" },
    rounds: { type: "string", default: "3" },
    json: { type: "string" },
  },
});
const [threads, prompts, samplesPerPrompt] = [flags.threads, flags.prompts, flags.completions].map(Number);
const [warmup, steps, rounds] = [flags.warmup, flags.steps, flags.rounds].map(Number);
const maxTokens = Number(flags["new-tokens"]);

/** Share of PPO's step over GRPO's and the critic's passes that the loop may add. */
const MOST_RATIO = 1.05;
const NAMES = ["Lily", "Tom", "Ben", "Anna", "Max", "Sue", "Tim", "Mia"];
const LETTER = "e";

const tokenizer = await Tokenizer.load(flags.model);
const ids = NAMES.map((name) => Int32Array.from(tokenizer.encode(`One day, ${name} went to the park.`)));
const task = {
  problems: (_step, count, first) => Array.from({ length: count }, (_, i) => ({ id: first + i })),
  promptOf: ({ id }) => ids[id % ids.length],
  reward: (_problem, { completion }) => {
    const text = tokenizer.decode(completion, { skipSpecialTokens: true });
    return (text.split(LETTER).length - 1) / Math.max(text.length, 1);
  },
  describe: ({ id }) => ({ prompt: String(id), thinking: null, answer: "" }),
  metrics: () => ({}),
};
const sampling = { maxTokens, temperature: 1 };
const optimizer = { learningRate: 1e-6 };
const loss = { klCoefficient: 0, entropyCoefficient: 0 };
const common = { steps: warmup + steps, prompts, samplesPerPrompt };
const grpo = grpoPart({ ...common, sampling, optimizer }).parse({ loss });
const ppo = ppoPart({ ...common, sampling, optimizer }).parse({ loss });

/** Seconds of each step of a loop, and the lines that it wrote. */
async function steadily(name, train) {
  const out = mkdtempSync(join(tmpdir(), "zazen-bench-"));
  const host = { out, signal: new AbortController().signal, emit: () => {} };
  const run = new Run(host, name, {}, [{ name, title: name, steps: common.steps, work: 1 }]);
  try {
    run.begin(name);
    await train(run, { phase: name, steps: common.steps, seed: 0, logging: { rolloutGroups: 0, showEvery: 1e9 } });
    const text = readFileSync(join(out, "metrics.jsonl"), "utf8").trim();
    const lines = text.split("\n").map((line) => JSON.parse(line));
    return lines.map((line, i) => ({ ...line, total: line.seconds - (lines[i - 1]?.seconds ?? 0) })).slice(warmup);
  } finally {
    run[Symbol.dispose]();
    rmSync(out, { recursive: true });
  }
}

/** The verbs of a critic under a clock. */
function clocked(engine) {
  const clock = { seconds: 0 };
  const timed = async (call) => {
    const began = performance.now();
    try {
      return await call();
    } finally {
      clock.seconds += (performance.now() - began) / 1000;
    }
  };
  const critic = {
    spec: engine.spec,
    values: (request) => timed(() => engine.values(request)),
    forwardBackward: (batch, spec) => timed(() => engine.forwardBackward(batch, spec)),
    optimStep: (step) => timed(() => engine.optimStep(step)),
  };
  return { critic, clock };
}

const found = { grpo: [], ppo: [], critic: [], tokens: [] };

async function grpoRound() {
  const engine = await Engine.load(flags.model, { threads });
  const lines = await steadily("grpo", (run, part) => reinforce(run, engine, task, grpo, part));
  found.grpo.push(...lines.map(({ total }) => total));
  await engine.dispose();
}

async function ppoRound() {
  const policy = await Engine.load(flags.model, { threads });
  const engine = await Engine.load(flags.model, { threads, head: "scalar" });
  const { critic, clock } = clocked(engine);
  const passes = []; // seconds of the critic up to each step
  const counting = {
    ...task,
    metrics: () => {
      passes.push(clock.seconds);
      return {};
    },
  };
  const lines = await steadily("ppo", (run, part) => trainPpo(run, { policy, critic }, counting, ppo, part));
  for (const line of lines) check(line["mismatch/max_abs"] === 0, "expected log-probs as they were sampled");
  found.ppo.push(...lines.map(({ total }) => total));
  found.tokens.push(...lines.map((line) => line["completion_length/mean"] * prompts * samplesPerPrompt));
  found.critic.push(...passes.map((at, i) => at - (passes[i - 1] ?? 0)).slice(warmup));
  await policy.dispose();
  await engine.dispose();
}

for (let round = 0; round < rounds; round++) {
  await grpoRound();
  await ppoRound();
}

const [grpoSeconds, ppoSeconds, criticSeconds] = [found.grpo, found.ppo, found.critic].map(median);
const ratio = ppoSeconds / (grpoSeconds + criticSeconds);
printTable(
  ["step", "GRPO", "PPO", "critic's passes", "PPO / (GRPO + critic)", `limit ${MOST_RATIO}`],
  [
    [
      `${prompts} x ${samplesPerPrompt} x ${maxTokens}`,
      ...[grpoSeconds, ppoSeconds, criticSeconds, ratio].map((value) => value.toFixed(3)),
      ratio <= MOST_RATIO ? "held" : "missed",
    ],
  ],
);
finish(
  {
    bench: "ppo_step",
    threads,
    prompts,
    completions: samplesPerPrompt,
    newTokens: maxTokens,
    steps: steps * rounds,
    grpoSeconds,
    ppoSeconds,
    criticSeconds,
    ratio,
    limit: MOST_RATIO,
    completionTokens: median(found.tokens),
    machine: machine(),
    commit: commit(),
  },
  flags.json,
);

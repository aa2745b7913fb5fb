// A task that a tiny engine learns in seconds: completions earn the number of sevens in them. And the run of one part of a method on it,
// which can be killed at any write and resumed.
import { sampling } from "../../src/config/fragments.js";
import { Engine } from "../../src/engine/engine.js";
import type { EngineLike } from "../../src/engine/like.js";
import type { EngineOptions } from "../../src/engine/types.js";
import { llamaSpec } from "../../src/methods/settings.js";
import type { CheckpointSettings } from "../../src/train/keeper.js";
import { openPolicy } from "../../src/train/open-policy.js";
import type { PolicyTask } from "../../src/train/reinforce.js";
import type { Numbered } from "../../src/train/rollout-log.js";
import { Run, type RunHost } from "../../src/train/run.js";

export const toySpec = llamaSpec({
  vocabSize: 16,
  eosTokenId: 0,
  width: 32,
  heads: 2,
  layers: 1,
  mlp: 48,
  maxPositions: 64,
});
export const toySampling = sampling({ maxTokens: 6, temperature: 0.7 }).parse({});

/** Problem i of step s begins with token 1 + (s + i) % 4. */
export const sevens: PolicyTask<Numbered> = {
  problems: (step, count, first) => Array.from({ length: count }, (_, i) => ({ id: step + first + i })),
  promptOf: ({ id }) => Int32Array.of(1 + (id % 4)),
  reward: (_, sample) => sample.completion.filter((token) => token === 7).length,
  describe: ({ id }, sample) => ({ prompt: `problem ${id}`, thinking: null, answer: [...sample.completion].join(" ") }),
  metrics: (groups) => ({ "task/groups": groups.length }),
};

export interface ToyPart {
  readonly name: string;
  readonly steps: number;
  readonly options?: EngineOptions;
  readonly keeping?: CheckpointSettings;
  train(run: Run, engine: Engine): Promise<unknown>;
}

/** Runs the part, then saves the model and a summary. */
export async function runToy(host: RunHost, { name, steps, options, keeping, train }: ToyPart): Promise<void> {
  const from = { spec: toySpec, seed: 3 };
  const engine = (await openPolicy(host, name, {
    engines: Engine,
    from,
    options: { threads: 1, ...options },
  })) as Engine;
  await using _ = engine;
  const parts = [{ name, title: name, steps, work: 1 }];
  using run = new Run(host, "toy", { name }, parts, keeping && { ...keeping, tokenizer: () => {} });
  await run.part(name, () => train(run, engine).then(() => null));
  await run.folder.saveModel("model", engine, () => {});
  run.folder.summary({ done: true });
}

/** Mean reward of fresh samples of the task's prompts. */
export async function meanSevens(engine: EngineLike): Promise<number> {
  const samplesPerPrompt = 64;
  const prompts = { ids: Int32Array.of(1, 2, 3, 4), cuSeqlens: Int32Array.of(0, 1, 2, 3, 4) };
  const { temperature, maxTokens } = toySampling;
  const { tokens } = await engine.generate({
    prompts,
    samplesPerPrompt,
    sampling: { temperature, maxTokens },
    seed: 99,
  });
  return tokens.filter((token) => token === 7).length / (4 * samplesPerPrompt);
}

/** What each step of a run left in metrics.jsonl, by the field. */
export const column = (lines: readonly Record<string, unknown>[], field: string): number[] =>
  lines.flatMap((line) => (typeof line[field] === "number" ? [line[field]] : []));

// A task that a tiny engine learns in seconds: completions earn the number of sevens in them. And the run of one part of a method on it,
// which can be killed at any write and resumed.
import { existsSync } from "node:fs";
import { join } from "node:path";
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
import type { SampleReader } from "../../src/train/watch.js";
import { type Cut, mortalDisk, PowerCut, remains, resuming } from "./crash.js";
import { testHost } from "./run-host.js";

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

/** Half of each completion is a thought of one step; one without any token is malformed. */
export const halves: SampleReader<Numbered> = (_, { completion }) => {
  const thoughtTokens = completion.length >> 1;
  const answerTokens = completion.length - thoughtTokens;
  return { thinking: "First, why?", answer: "yes", malformed: completion.length === 0, thoughtTokens, answerTokens };
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

/** What the run leaves that nothing stops, and the writes that it asks for. */
export async function wholeRun(train: (host: RunHost) => Promise<void>) {
  const host = testHost();
  const disk = mortalDisk(null);
  await train({ ...host, disk });
  return { left: remains(host.out), writes: disk.writes };
}

/** What it leaves when the disk dies at each of the cuts, one resumption after another, and it is resumed to its end. */
export async function interruptedRun(train: (host: RunHost) => Promise<void>, cuts: readonly Cut[]) {
  const host = testHost();
  for (const [place, cut] of cuts.entries()) {
    const disk = mortalDisk(cut);
    const running = train(place === 0 ? { ...host, disk } : await resuming(host, disk));
    await running.catch((error: unknown) => {
      if (!(error instanceof PowerCut)) throw error;
    });
  }
  if (!existsSync(join(host.out, "summary.json")))
    await train(existsSync(join(host.out, "recipe.json")) ? await resuming(host) : host);
  return remains(host.out);
}

/** Cuts at some of the writes of a run, from its beginning to its end, each for a run of its own; and one that is cut twice. */
export function someCuts(writes: readonly string[]): Cut[][] {
  const places = [0.2, 0.4, 0.55, 0.7, 0.85, 0.97].map((share) => Math.round(share * writes.length));
  const early = 20;
  const twice = [
    { at: places[2]!, half: false },
    { at: early, half: true },
  ];
  return [...places.map((at) => [{ at, half: true }]), twice];
}

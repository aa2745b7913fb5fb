// Law 5 on the engine, for what moves beside weights and moments: a reference that follows the policy, masters of adapters, the draws of a
// mixture, refills, the best figure and its age, what was found and said. A run that is stopped after some step, or killed, and resumed with
// other threads leaves the weights, lines, rollouts and warnings of the run that nobody stopped.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { loss } from "../../src/config/fragments.js";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import type { Recipe } from "../../src/methods/recipe.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { llamaSpec } from "../../src/methods/settings.js";
import { makeSft } from "../../src/methods/sft.js";
import { TRIAL_VOCAB_SIZE, trialTokenizerFiles } from "../../src/tasks/countdown-trial.js";
import { Diagnosis } from "../../src/train/diagnosis.js";
import type { RunHost } from "../../src/train/run.js";
import { mortalDisk, PowerCut, remains, resuming } from "../helpers/crash.js";
import { eos, jsonl, tempFolder } from "../helpers/recipes.js";
import { modulePath } from "../helpers/rewards.js";
import { eventsOf, readLines, type TestHost, testHost } from "../helpers/run-host.js";

type Line = Readonly<Record<string, number>>;

interface Case {
  readonly recipe: Recipe<never>;
  readonly settings: Settings;
  /** Whether the run did what the case is about. */
  readonly did: (host: TestHost, lines: readonly Line[]) => boolean;
}

const POSITIONS = 160;

/** A model with the trial's tokenizer, and weights large enough that no distribution is flat. */
async function modelFolder(): Promise<string> {
  const shape = { width: 16, layers: 3, heads: 2, mlp: 24, maxPositions: POSITIONS };
  const spec = llamaSpec({ ...shape, vocabSize: TRIAL_VOCAB_SIZE, eosTokenId: eos });
  const folder = join(tempFolder(), "model");
  await using engine = await Engine.create(spec, { seed: 2, std: 0.3 }, { trainable: false });
  await engine.save(folder);
  for (const [name, text] of Object.entries(trialTokenizerFiles(POSITIONS))) writeFileSync(join(folder, name), text);
  return folder;
}

const questions = (...numbers: number[]) => jsonl(...numbers.map((n) => ({ prompt: `<q> ${n}`, answer: `${n}` })));
const sum = (lines: readonly Line[], name: string) => lines.reduce((total, line) => total + (line[name] ?? 0), 0);
const warnings = (host: TestHost) =>
  eventsOf(host, "note").flatMap((note) => (note.level === "warning" ? [note.text] : []));
const exact = (lines: readonly Line[]) =>
  lines.filter((line) => "loss" in line).every((line) => line["mismatch/max_abs"] === 0);

const names = [
  "a reference that follows the policy",
  "a reference that is copied, KL in the reward, in bfloat16 with moments in bfloat16",
  "LoRA with modulesToSave by SFT in bfloat16, activations recomputed, the best checkpoint kept",
  "LoRA by GRPO against its base, a mixture graded by the pool, an early stop",
  "refills of dynamic sampling, from a mixture whose sources leave",
  "what is said of a run that learns nothing",
];
let cases: Record<string, Case>;

beforeAll(async () => {
  const model = await modelFolder();
  const rlvr = makeRlvr(Engine) as Recipe<never>;
  const digits = { kind: "format", thinking: "", pattern: "4[0-9]" }; // half of the samples
  const length = { module: modulePath("plain.mjs"), name: "length", isolate: "thread", weight: 0.01 };
  const mixture = [{ source: questions(1, 2, 3, 4, 5), weight: 3 }, { source: questions(6, 7, 8) }];
  const grpo = {
    steps: 7,
    prompts: 3,
    samplesPerPrompt: 3,
    sampling: { maxTokens: 6, temperature: 0.9 },
    optimizer: { learningRate: 0.01 },
  };
  const common = {
    model,
    format: "zero-plain",
    rewardWorkers: 1,
    logging: { rolloutGroups: 9 },
    checkpoint: { every: 2 },
  };
  const types = { dtype: "bfloat16", moments: "bfloat16" };
  const demonstrations = jsonl(...[1, 2, 3, 4, 5].map((n) => ({ prompt: `<q> ${n}`, completion: `${n} + ${n}` })));
  const moved = (_: TestHost, lines: readonly Line[]) => exact(lines) && sum(lines, "kl") > 0;
  const all: Case[] = [
    {
      recipe: rlvr,
      settings: {
        ...common,
        data: questions(1, 2, 3, 4),
        rewards: [length],
        grpo: { ...grpo, loss: { klCoefficient: 0.2 }, reference: { sync: { every: 2, mix: 0.3 } } },
      },
      did: moved,
    },
    {
      recipe: rlvr,
      settings: {
        ...common,
        ...types,
        data: questions(1, 2, 3, 4),
        rewards: [length],
        grpo: {
          ...grpo,
          loss: { klCoefficient: 0.2, klIn: "reward", klEstimator: "k2" },
          reference: { sync: { every: 3 } },
        },
      },
      did: moved,
    },
    {
      recipe: makeSft(Engine) as Recipe<never>,
      settings: {
        model,
        ...types,
        recompute: true,
        data: demonstrations,
        lora: { rank: 3, targets: ["q_proj", "down_proj"], modulesToSave: ["lm_head", "norm"] },
        sft: { steps: 7, tokensPerStep: 14, optimizer: { learningRate: 0.02, schedule: "constant", warmupSteps: 0 } },
        evaluation: { every: 2, data: demonstrations },
        checkpoint: { every: 3, keep: 1 },
      },
      did: (host, lines) =>
        existsSync(join(host.out, "model", "adapter_model.safetensors")) &&
        sum(lines, "eval/loss/best") > 0 &&
        lines.at(-1)!.loss! < lines[0]!.loss!,
    },
    {
      recipe: rlvr,
      settings: {
        ...common,
        data: mixture,
        rewards: [length, digits],
        lora: { rank: 3, modulesToSave: ["norm"] },
        grpo: { ...grpo, steps: 40, loss: { klCoefficient: 0.1 } },
        evaluation: { data: questions(2, 9), every: 2, patience: 2 },
      },
      did: (host, lines) => moved(host, lines) && lines.filter((line) => "loss" in line).length === 6,
    },
    {
      recipe: rlvr,
      settings: {
        ...common,
        data: mixture,
        mixture: { exhausted: "leave" },
        rewards: [digits],
        grpo: { ...grpo, samplesPerPrompt: 2, dynamicSampling: { maxRefills: 4 } },
      },
      did: (_, lines) =>
        exact(lines) && sum(lines, "dynamic_sampling/refills") > 3 && sum(lines, "dynamic_sampling/dropped") > 5,
    },
    {
      recipe: rlvr,
      settings: {
        ...common,
        data: questions(1, 2, 3),
        rewards: [{ kind: "exact" }],
        grpo: { ...grpo, steps: 8, sampling: { maxTokens: 3 } },
      },
      did: (host) => warnings(host).length === 4 && /^nothing was learnt: in none of 8/.test(warnings(host)[3]!),
    },
  ];
  cases = Object.fromEntries(names.map((name, i) => [name, all[i]!]));
});

async function run(name: string, host: RunHost, change: Settings = {}): Promise<void> {
  const { recipe, settings } = cases[name]!;
  await recipe.run(resolveSettings(recipe.name, recipe.schema, { threads: 1, ...settings, ...change }), host);
}

/** Runs until a step is done, and then to the end; all that was warned of. */
async function stoppedAfter(name: string, step: number, host: TestHost): Promise<readonly string[]> {
  const emit: RunHost["emit"] = (event) => {
    host.emit(event);
    if (event.type === "step" && event.step === step && !event.phase.startsWith("evaluate"))
      host.controller.abort(new Error("stop"));
  };
  await expect(run(name, { ...host, emit })).rejects.toThrow("stop");
  const again = { ...testHost(), out: host.out };
  await run(name, await resuming(again), { threads: 2 });
  return [...warnings(host), ...warnings(again)];
}

/** A step that is asked for may have a checkpoint of its own. */
const apart = (left: Record<string, unknown>) => ({ ...left, checkpoints: [] });

describe.each(names)("%s", (name) => {
  let host: TestHost;
  let left: Record<string, unknown>;
  let writes: number;
  beforeAll(async () => {
    host = testHost();
    const disk = mortalDisk(null);
    await run(name, { ...host, disk });
    left = remains(host.out);
    writes = disk.writes.length;
  });

  test("is what the run is about", () => {
    expect(cases[name]!.did(host, readLines(host.out, "metrics.jsonl") as Line[])).toBe(true);
  });

  test.each([2, 5])("stopped after step %i and resumed", async (step) => {
    const other = testHost();
    expect(await stoppedAfter(name, step, other)).toEqual(warnings(host));
    expect(apart(remains(other.out))).toEqual(apart(left));
  });

  test("killed at a write in its middle and resumed", async () => {
    const other = testHost();
    const disk = mortalDisk({ at: Math.round(0.6 * writes), half: true });
    await expect(run(name, { ...other, disk })).rejects.toThrow(PowerCut);
    await run(name, await resuming({ ...testHost(), out: other.out }), { threads: 2 });
    expect(remains(other.out)).toEqual(left);
  });
});

test("figures that a step did not have are unknown after a checkpoint too", () => {
  const settings = { maxTokens: 4, loss: loss().parse({}) };
  const figures = (truncated: number) => ({
    "groups/total": 3,
    "groups/zero_spread": 0,
    "reward/mean": truncated,
    "reward/std": 1,
    "completion_length/truncated": truncated,
  });
  const steps = [1, 1, Number.NaN, 1, 1, 1, 1, 1];
  const whole = new Diagnosis(settings);
  const said = steps.map((truncated, i) => whole.see(i + 1, figures(truncated), 1));
  expect(said.flat()).toHaveLength(1);
  for (let cut = 1; cut < steps.length; cut++) {
    const [before, after] = [new Diagnosis(settings), new Diagnosis(settings)];
    const first = steps.slice(0, cut).map((truncated, i) => before.see(i + 1, figures(truncated), 1));
    after.restore(JSON.parse(JSON.stringify(before.save())));
    const rest = steps.slice(cut).map((truncated, i) => after.see(cut + i + 1, figures(truncated), 1));
    expect([...first, ...rest], `cut after ${cut}`).toEqual(said);
  }
});

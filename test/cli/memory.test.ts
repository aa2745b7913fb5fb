// Law 7 of whole runs: what `zazen train` says before its first step is what its process has had at most when it ends, by the kernel's account.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { jsonl } from "../helpers/recipes.js";
import { modulePath } from "../helpers/rewards.js";
import { cliIsBuilt, main, model, modelsAreThere } from "./process.js";

const GiB = 2 ** 30;
const TOLERANCE = 0.1;
/** Milliseconds: a whole run on a machine with other work. */
const timeout = 300_000;
const preload = new URL("../helpers/peak-memory.mjs", import.meta.url).href;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "zazen-memory-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Memory {
  /** Bytes of the plan as it was printed. */
  readonly plan: number;
  readonly line: string;
  /** Bytes of the process at most, pages of files left out. */
  readonly peak: number;
}

/** A whole run in a process, kept as `name`. */
async function trained(name: string, recipe: string, settings: Readonly<Record<string, unknown>>): Promise<Memory> {
  const sets = Object.entries({ threads: 2, ...settings }).flatMap(([key, value]) => [
    "--set",
    `${key}=${JSON.stringify(value)}`,
  ]);
  const file = join(folder, `${name}.peak`);
  const args = ["--import", preload, main, "train", recipe, ...sets, "--out", join(folder, name)];
  const env = { ...process.env, NO_COLOR: "1", ZAZEN_PEAK_MEMORY: file };
  const { stdout } = await promisify(execFile)(process.execPath, args, { env, maxBuffer: 1 << 26 });
  const [line = "", gib] = /^memory: (\d+\.\d+) GiB .*$/m.exec(stdout) ?? [];
  return { plan: Number(gib) * GiB, line, peak: Number(readFileSync(file, "utf8")) };
}

function expectPlanned({ plan, line, peak }: Memory): void {
  expect(line).toMatch(/, process \d+\.\d+ GiB\)/);
  expect(Math.abs(peak - plan), `${peak} bytes; ${line}`).toBeLessThan(TOLERANCE * plan);
}

const scratch = {
  "scratch.width": 128,
  "scratch.layers": 4,
  "scratch.heads": 4,
  "scratch.mlp": 384,
};
const grpo = { "grpo.steps": 8, "grpo.prompts": 4, "grpo.samplesPerPrompt": 8 };

describe.skipIf(!cliIsBuilt || process.platform !== "linux")("a whole run keeps to its plan", { timeout }, () => {
  const trial = () => join(folder, "sft", "model");
  let sft: Memory;
  beforeAll(async () => {
    sft = await trained("sft", "sft", { ...scratch, "sft.steps": 12 });
  }, timeout);

  test("SFT", () => expectPlanned(sft));

  test.each<[string, Readonly<Record<string, unknown>>]>([
    ["float32", { "grpo.loss.klCoefficient": 0.01 }],
    ["bfloat16", { dtype: "bfloat16", moments: "bfloat16" }],
    ["adapters", { "lora.rank": 8, "grpo.loss.klCoefficient": 0.01 }],
  ])("GRPO, %s", async (name, settings) => {
    const own = { task: "countdown-trial", "grpo.sampling.maxTokens": 128, "evaluation.problems": 16, ...grpo };
    expectPlanned(await trained(name, "rlvr", { model: trial(), ...own, ...settings }));
  });

  describe.skipIf(!modelsAreThere)("on stories", () => {
    const rows = () =>
      jsonl(...Array.from({ length: 64 }, (_, i) => ({ prompt: `Lily had ${i} red balls and`, answer: `${i}` })));
    const rewards = [{ kind: "maths" }, { module: modulePath("plain.mjs"), isolate: "thread", weight: 0.01 }];

    test("GRPO, graded on threads", async () => {
      const own = { data: rows(), rewards, rewardWorkers: 2, "grpo.sampling.maxTokens": 100, ...grpo };
      expectPlanned(await trained("stories", "rlvr", { model: model("stories260k"), ...own }));
    });

    test.each<[string, Readonly<Record<string, unknown>>]>([
      ["dpo", { "dpo.rollouts": 4, "dpo.prompts": 16, "dpo.sampling.maxTokens": 100 }],
      ["ppo", { "ppo.steps": 4, "ppo.prompts": 16, "ppo.sampling.maxTokens": 100 }],
    ])("RLMT by %s", async (algorithm, settings) => {
      const format = {
        start: "zero",
        thinking: false,
        "format.answerOpen": "",
        "format.answerClose": "",
        "format.completion": "{answer}",
      };
      const asked = { data: rows(), rewards, rewardWorkers: 2, algorithm, "evaluation.problems": 8 };
      const own = { model: model("stories260k"), ...format, ...asked, ...settings };
      expectPlanned(await trained(algorithm, "rlmt", own));
    });
  });
});

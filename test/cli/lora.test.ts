// LoRA from the command line: SFT and GRPO on a small model learn adapters, and what they leave is sampled from and trained further.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TextSample } from "../../src/cli/generate.js";
import { toyModel } from "../helpers/toy-model.js";
import { cliIsBuilt, failure, json, zazen } from "./process.js";

describe.skipIf(!cliIsBuilt)("on a small model", { timeout: 120_000 }, () => {
  let folder = "";
  let base = "";
  const adapters = () => join(folder, "sft", "model");
  beforeAll(async () => {
    base = await toyModel();
    folder = mkdtempSync(join(tmpdir(), "zazen-lora-"));
    const rows = ["a dog", "a cat", "a bird"].map((prompt) => ({
      prompt: `${prompt} said`,
      completion: " blue blue blue",
    }));
    writeFileSync(join(folder, "rows.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
    const problem = JSON.stringify({ numbers: [1, 2, 3], target: 6 });
    writeFileSync(join(folder, "problems.jsonl"), `${problem}\n${problem}\n`);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const set = (settings: readonly string[]) => settings.flatMap((setting) => ["--set", setting]);
  const metrics = (run: string) =>
    readFileSync(join(folder, run, "metrics.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number>);

  test("sft learns adapters, which generate takes as a model", () => {
    const settings = [`model=${base}`, `data=${join(folder, "rows.jsonl")}`, "lora.rank=8", "sft.steps=40"];
    const more = ["sft.tokensPerStep=60", "sft.optimizer.learningRate=0.01", "sft.optimizer.warmupSteps=0"];
    const run = zazen(["train", "sft", ...set([...settings, ...more]), "--out", join(folder, "sft")]);
    expect(run.status, run.stderr).toBe(0);
    const losses = metrics("sft").map((line) => line.loss!);
    expect(losses.at(-1)).toBeLessThan(0.3 * losses[0]!);
    expect(existsSync(join(adapters(), "adapter_model.safetensors"))).toBe(true);
    expect(existsSync(join(adapters(), "model.safetensors"))).toBe(false);
    const asked = [
      "--model",
      adapters(),
      "--prompt",
      "a dog said",
      "--raw",
      "--temperature",
      "0",
      "--max-tokens",
      "12",
    ];
    const { samples } = json<{ samples: readonly TextSample[] }>(["generate", ...asked]);
    expect(samples[0]?.text).toContain("blue");
  });

  test("rlvr goes on with the adapters, exactly on-policy, with the base as reference", () => {
    const settings = [`model=${adapters()}`, `data=${join(folder, "problems.jsonl")}`, "format=zero-plain"];
    const more = ["grpo.steps=2", "grpo.prompts=2", "grpo.samplesPerPrompt=4", "grpo.sampling.maxTokens=12"];
    const all = [...settings, ...more, "grpo.loss.klCoefficient=0.1"];
    const run = zazen(["train", "rlvr", ...set(all), "--out", join(folder, "rlvr")]);
    expect(run.status, run.stderr).toBe(0);
    for (const line of metrics("rlvr")) expect(line["mismatch/max_abs"]).toBe(0);
    expect(metrics("rlvr")[0]!.kl).toBeGreaterThan(0);
  });

  test("adapters as peft leaves them have the tokenizer of their base, and what is trained on has it too", () => {
    const bare = join(folder, "bare");
    mkdirSync(bare);
    for (const name of ["adapter_config.json", "adapter_model.safetensors"])
      copyFileSync(join(adapters(), name), join(bare, name));
    const small = ["grpo.steps=1", "grpo.prompts=1", "grpo.samplesPerPrompt=2", "grpo.sampling.maxTokens=4"];
    const problems = [`data=${join(folder, "problems.jsonl")}`, "format=zero-plain", ...small];
    const rows = [`data=${join(folder, "rows.jsonl")}`, "sft.steps=1", "sft.tokensPerStep=60"];
    for (const [recipe, settings] of Object.entries({ rlvr: problems, sft: rows })) {
      const out = join(folder, `bare ${recipe}`);
      const run = zazen(["train", recipe, ...set([`model=${bare}`, ...settings]), "--out", out]);
      expect(run.status, run.stderr).toBe(0);
      const own = (path: string) => readFileSync(join(path, "tokenizer.json"), "utf8");
      expect(own(join(out, "model"))).toBe(own(base));
    }
  });

  test("adapters on a model from scratch are refused", () => {
    const { code, message } = failure(["train", "sft", ...set(["lora.rank=4"])]);
    expect(code).toBe("RECIPE_VALUE");
    expect(message).toContain("expected a model for it to stand on");
  });
});

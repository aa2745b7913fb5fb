// `zazen try` as a process: one document, Ctrl-C as of every run, and going on.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cliIsBuilt, failure, json, start, zazen } from "./process.js";

const tiny = [
  "model={width: 24, layers: 1, heads: 2, mlp: 32, maxPositions: 160}",
  "rows={demonstrations: 200, preferences: 200, heldOutPreferences: 40}",
  "sft.epochs=1",
  "rewardModel={steps: 6, pairsPerStep: 8}",
  "grpo={steps: 3, prompts: 2, samplesPerPrompt: 4, sampling: {maxTokens: 16}}",
  "evaluation={problems: 8, every: 0}",
].flatMap((setting) => ["--set", setting]);

describe.skipIf(!cliIsBuilt)("zazen try rlmt", { timeout: 120_000 }, () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "zazen-try-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("--dry-run says what it would do, and writes nothing", () => {
    const out = join(folder, "none");
    const document = json<{ recipe: string; plan: string[] }>(["try", "rlmt", ...tiny, "--dry-run", "--out", out]);
    expect(document.recipe).toBe("try-rlmt");
    expect(document.plan.join("\n")).toMatch(/8 held-out prompts.*3 steps of 2 prompts.*memory: /s);
    expect(existsSync(out)).toBe(false);
  });

  test("SIGINT ends it with 130 and says how to go on; then it comes to its end, and its arms can be compared", async () => {
    const out = join(folder, "runs", "stopped");
    const at = {
      folder: out,
      verb: "writeSync",
      place: "reward-model/metrics.jsonl",
      nth: 2,
      signal: "SIGINT" as const,
    };
    const { code, told } = await start(["try", "rlmt", ...tiny, "--out", out, "--json"], at).ended;
    const { error } = JSON.parse(told.trimEnd().split("\n").at(-1)!) as { error: { code: string; message: string } };
    expect([code, error.code]).toEqual([130, "INTERRUPTED"]);
    expect(error.message).toContain(`go on with it: npx zazen train --resume ${out}`);
    expect(existsSync(join(out, "no-think"))).toBe(false);
    expect(zazen(["train", "--resume", "--dry-run"], { cwd: folder }).stdout).toContain(
      "goes on from the runs in runs/stopped",
    );
    const { summary } = json<{ summary: { conclusion: string[] } }>(["train", "--resume", out]);
    expect(summary.conclusion.length).toBeGreaterThan(3);
    const { measures } = json<{ measures: { name: string }[] }>(["compare", join(out, "no-think"), join(out, "think")]);
    expect(measures.map(({ name }) => name)).toContain("held-out/sampled");
  });

  test("settings of a trial that has begun stay", () => {
    const out = join(folder, "runs", "stopped");
    expect(failure(["train", "--resume", out, "--set", "grpo.steps=9"])).toMatchObject({
      status: 2,
      code: "RESUME_SETTING",
    });
  });
});

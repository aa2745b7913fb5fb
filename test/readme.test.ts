// The README's library example is a file that runs: the text is the same, and the run learns with mismatch 0.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test, vi } from "vitest";
import { applySets } from "../src/config/recipe-file.js";
import { resolveSettings } from "../src/config/resolve.js";
import { recipes } from "../src/methods/index.js";
import { RewardPool } from "../src/reward/pool.js";
import { rewardInput } from "./helpers/rewards.js";

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");

describe("the library example", () => {
  test("is in the README word for word", () => {
    const [, block] = /```ts\n([\s\S]*?)```/.exec(read("../README.md")) ?? [];
    const file = read("examples/first-run.ts");
    expect(block).toBe(file.replace('"../../src/index.js"', '"zazen"'));
    expect(file.split("\n").filter((line) => line !== "").length).toBeLessThanOrEqual(16);
  });

  test("runs, learns, and is exactly on-policy", { timeout: 60_000 }, async () => {
    const lines: string[] = [];
    const log = vi.spyOn(console, "log").mockImplementation((line: string) => lines.push(line));
    await import("./examples/first-run.js");
    log.mockRestore();
    const rewards = lines.map((line) => mean(/rewards (.*), mismatch/.exec(line)![1]!.split(/[ ,]/).map(Number)));
    expect(lines).toHaveLength(20);
    for (const line of lines) expect(line).toMatch(/mismatch 0$/);
    expect(mean(rewards.slice(-3))).toBeGreaterThan(mean(rewards.slice(0, 3)) + 1);
  });
});

describe("the reward of a module", () => {
  const file = read("examples/reward.ts").replace('"../../src/index.js"', '"zazen"');

  test("is in the README word for word, beside settings that a recipe takes", () => {
    const readme = read("../README.md");
    expect(/```typescript\n([\s\S]*?)```/.exec(readme)?.[1]).toBe(file);
    const [, rewards] = /--set '(rewards=[^']*)'/.exec(readme)!;
    const rlvr = recipes.find(({ name }) => name === "rlvr")!;
    const config = resolveSettings("rlvr", rlvr.schema, applySets({ model: "m" }, [rewards!]));
    expect(config).toMatchObject({ rewards: [{ kind: "maths" }, { weight: 0.1 }, { module: "./reward.ts" }] });
  });

  test("grades as it says", async () => {
    const module = fileURLToPath(new URL("examples/reward.ts", import.meta.url));
    const pool = await RewardPool.create([{ module }], { workers: 1 });
    const long = `${"so ".repeat(10)}Paris`;
    const inputs = ["Paris", "Rome", long].map((text) => rewardInput(text, { record: { city: "Paris" } }));
    const { rewards } = await pool.score([[...inputs, rewardInput("", { answer: null })]]);
    await pool.dispose();
    expect([...rewards[0]!]).toEqual([1, 0, 0.95, 0]);
  });
});

test("every recipe, script and command that the README names exists", () => {
  const readme = read("../README.md");
  const { scripts } = JSON.parse(read("../package.json")) as { scripts: Record<string, string> };
  const named = [...readme.matchAll(/npm run ([\w:-]+)/g)].map((match) => match[1]!);
  expect(named.length).toBeGreaterThan(2);
  expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  const main = read("../src/cli/main.ts");
  const commands = [...readme.matchAll(/zazen (train|recipes|compare|generate|logprobs|doctor)\b/g)].map(
    (match) => match[1]!,
  );
  expect(new Set(commands).size).toBe(6);
  for (const command of commands) expect(main).toContain(`${command}Command()`);
});

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

// The README's library example is a file that runs: the text is the same, and the run learns with mismatch 0.
import { readFileSync } from "node:fs";
import { describe, expect, test, vi } from "vitest";

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

test("every recipe, script and command that the README names exists", () => {
  const readme = read("../README.md");
  const { scripts } = JSON.parse(read("../package.json")) as { scripts: Record<string, string> };
  const named = [...readme.matchAll(/npm run ([\w:-]+)/g)].map((match) => match[1]!);
  expect(named.length).toBeGreaterThan(2);
  expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  const main = read("../src/cli/main.ts");
  const commands = [...readme.matchAll(/zazen (train|recipes|generate|logprobs|doctor)\b/g)].map((match) => match[1]!);
  expect(new Set(commands).size).toBe(5);
  for (const command of commands) expect(main).toContain(`${command}Command()`);
});

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

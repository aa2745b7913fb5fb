// The part "process" of a memory plan: what the process has, as the kernel counts it, and what a run's workload adds. That whole runs keep
// to it is in test/cli/memory.test.ts.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Workload } from "../../src/engine/memory.js";
import { processBytes, processMemory } from "../../src/engine/process-memory.js";
import { temporaryFolder } from "../helpers/engine.js";

const MiB = 2 ** 20;
const spec = { maxPositions: 512 };

describe("bytes of the process", () => {
  test("are its own pages, files left out", () => {
    const root = temporaryFolder();
    mkdirSync(join(root, "proc/self"), { recursive: true });
    writeFileSync(
      join(root, "proc/self/status"),
      "Name:\tnode\nVmRSS:\t  900 kB\nRssAnon:\t     512 kB\nRssFile:\t 388 kB\n",
    );
    expect(processBytes(root)).toBe(512 * 1024);
  });

  test("are all of its pages where the system does not tell them apart", () => {
    const rss = process.memoryUsage.rss();
    expect(Math.abs(processBytes(temporaryFolder()) - rss)).toBeLessThan(0.2 * rss);
  });
});

describe("the part of the process", () => {
  const grown = (workload: Workload) => {
    const { bytes, held } = processMemory(0, spec, workload);
    return bytes - held;
  };

  test("holds what engines do not, and grows", () => {
    expect(processMemory(40 * MiB, spec, {}, 100 * MiB)).toMatchObject({ name: "process", held: 60 * MiB });
    expect(processMemory(140 * MiB, spec, {}, 100 * MiB).held).toBe(0);
    expect(grown({})).toBeGreaterThan(10 * MiB);
  });

  test("grows with the samples and the tokens of a step, up to the model's positions", () => {
    const rollout = (prompts: number, maxTokens: number) =>
      grown({ generate: [{ prompts, promptTokens: 9, samplesPerPrompt: 64, maxTokens }] }) - grown({});
    expect(rollout(128, 100)).toBe(2 * rollout(64, 100));
    expect(rollout(64, 500) - rollout(64, 300)).toBe(2 * (rollout(64, 200) - rollout(64, 100)));
    expect(rollout(64, 500)).toBeGreaterThan(rollout(64, 300));
    expect(rollout(64, 4096)).toBe(rollout(64, 512));
    const batch = (tokens: number) => grown({ train: { tokens, longest: 512 } }) - grown({});
    expect(batch(2 ** 20)).toBe(2 * batch(2 ** 19));
    expect(grown({ score: { tokens: 2 ** 20, longest: 512 } })).toBe(
      grown({ train: { tokens: 2 ** 20, longest: 512 } }),
    );
  });
});

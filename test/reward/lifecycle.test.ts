// Workers come and go: an abort and a dispose end them, idle ones keep no process alive, and none outlives the process that started it.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { RewardPool } from "../../src/reward/pool.js";
import type { RewardSettings } from "../../src/reward/spec.js";
import { cliIsBuilt, dist } from "../cli/process.js";
import { inputsOf, modulePath, processesWith } from "../helpers/rewards.js";
import { temporaryFolder } from "../helpers/temporary.js";

const hostile = modulePath("hostile.mjs");
const plain = modulePath("plain.mjs");
const forever = { timeoutMs: 600_000, weight: 1 };
/** On a machine as busy as any. */
const soon = { timeout: 60_000, interval: 50 };

const everyKind: readonly RewardSettings[] = [
  { kind: "maths" },
  { module: plain, isolate: "thread", name: "thread" },
  { module: plain, isolate: "process", name: "process" },
];

describe("an abort", () => {
  test.each(["thread", "process"] as const)(
    "ends the workers, rejects with its reason and leaves a pool that grades, in a %s",
    async (isolate) => {
      const pool = await RewardPool.create([{ module: hostile, isolate, ...forever }], { workers: 2 });
      const controller = new AbortController();
      const scoring = pool.score(inputsOf(["loop", "never", "fine"]), { signal: controller.signal });
      setTimeout(() => controller.abort(new Error("stopped")), 300);
      await expect(scoring).rejects.toThrow("stopped");
      expect([...(await pool.score(inputsOf(["fine"]))).rewards[0]!]).toEqual([4]);
      await expect(pool.score(inputsOf(["fine"]), { signal: AbortSignal.abort(new Error("before")) })).rejects.toThrow(
        "before",
      );
      await pool.dispose();
      expect(pool.workers).toBe(0);
    },
  );
});

describe("dispose", () => {
  test.each(["thread", "process"] as const)("while a %s grades ends it, and the call rejects", async (isolate) => {
    const pool = await RewardPool.create([{ module: hostile, isolate, ...forever }], { workers: 1 });
    const scoring = pool.score(inputsOf(["loop", "a", "b"]), { maxErrorShare: 1 }).catch((error: Error) => error);
    await pause(300);
    await pool.dispose();
    expect(pool.workers).toBe(0);
    expect(await scoring).toMatchObject({ code: "REWARD_DISPOSED", message: expect.stringContaining("disposed") });
    await expect(pool.score(inputsOf(["a"]))).rejects.toMatchObject({ code: "REWARD_DISPOSED" });
    await pool.dispose();
  });

  test("1,000 pools of verifiers leave nothing behind", async () => {
    const cycle = async () => (await RewardPool.create([{ kind: "maths" }, { kind: "format" }])).dispose();
    for (let i = 0; i < 100; i++) await cycle();
    const resources = () => process.getActiveResourcesInfo().length;
    const [before, heap] = [resources(), heapMb()];
    for (let i = 0; i < 1_000; i++) await cycle();
    expect(resources()).toBeLessThanOrEqual(before);
    expect(heapMb() - heap).toBeLessThan(32);
  });

  test("pools that worked leave no worker, handle or process behind", async () => {
    const cycle = async () => {
      const pool = await RewardPool.create(everyKind, { workers: 1 });
      await pool.score(inputsOf(["4"]));
      expect(pool.workers).toBe(3);
      await pool.dispose();
      expect(pool.workers).toBe(0);
    };
    await cycle();
    const before = process.getActiveResourcesInfo().length;
    for (let i = 0; i < 5; i++) await cycle();
    expect(process.getActiveResourcesInfo().length).toBeLessThanOrEqual(before);
    expect(processesWith("reward/worker/start.mjs", true)).toEqual([]);
  });
});

function heapMb(): number {
  return process.memoryUsage().heapUsed / 2 ** 20;
}

describe.skipIf(!cliIsBuilt)("the process", () => {
  const script = (body: string): string => {
    const file = join(temporaryFolder("pool"), "script.mjs");
    const pool = JSON.stringify(join(dist, "reward", "pool.js"));
    writeFileSync(file, `import { RewardPool } from ${pool};\n${body}`);
    return file;
  };
  const input = {
    prompt: "",
    completion: "4",
    thinking: null,
    answer: "4",
    record: { answer: "4" },
    tokens: 1,
    finish: "stop",
  };

  test("ends although a pool with idle workers was not disposed, and so do the workers", async () => {
    const marked = join(temporaryFolder("pool"), "marked.mjs");
    writeFileSync(marked, "export default () => 1;\n");
    const file = script(
      `const pool = await RewardPool.create(${JSON.stringify([{ kind: "maths" }, { module: marked, name: "p" }])});
       console.log(JSON.stringify((await pool.score([[${JSON.stringify(input)}]])).rewards.map((row) => [...row])));`,
    );
    const { code, stdout } = await ran(file);
    expect([code, stdout.trim()]).toEqual([0, "[[2]]"]);
  });

  test("that is killed takes its workers along, also one that loops", async () => {
    const mark = 48_000 + (process.pid % 1_000);
    const file = script(
      `const pool = await RewardPool.create(${JSON.stringify([{ module: hostile, ...forever, memoryMb: mark }])}, { workers: 1 });
       console.log("ready");
       await pool.score([[${JSON.stringify({ ...input, completion: "loop" })}]]);`,
    );
    const env = { ...process.env, TMPDIR: temporaryFolder("pool") }; // a process that is killed removes nothing
    const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"], env });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    const workers = () => processesWith(`max-old-space-size=${mark}`).length;
    await vi.waitFor(() => expect(workers()).toBe(1), soon);
    child.kill("SIGKILL");
    await vi.waitFor(() => expect(workers()).toBe(0), soon);
  });
});

function ran(file: string): Promise<{ code: number | null; stdout: string }> {
  const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout })));
}

// Deadlines of what a process computes: one that spins is found, one that waits for a processor is not, and one that never goes on is, later.
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { byTheClock, CLOCK_FACTOR, computedMs, cpuDeadline } from "../../src/config/cpu-deadline.mjs";

const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
});

/** A process that says when it begins. */
async function begun(script: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ["--eval", `console.log("begun"); ${script}`]);
  running.push(child);
  await new Promise((resolve) => child.stdout.once("data", resolve));
  return child;
}

const SPIN = "for (;;);";
const WAIT = "setInterval(() => {}, 1000);";

/** The limit that the process passes. */
const limitOf = (child: ChildProcess, deadlineMs: number) =>
  new Promise<string>((resolve) => cpuDeadline(child.pid, deadlineMs, resolve));

describe.runIf(process.platform === "linux")("deadlines of the processor's time", { timeout: 60_000 }, () => {
  test("what a process computes is counted, and not how long it waits", async () => {
    const [busy, idle] = await Promise.all([begun(SPIN), begun(WAIT)]);
    const before = [busy, idle].map(({ pid }) => computedMs(pid)!);
    const started = performance.now();
    while (computedMs(busy.pid)! - before[0]! < 300) await sleep(20);
    expect(performance.now() - started).toBeGreaterThan(250);
    expect(computedMs(idle.pid)! - before[1]!).toBeLessThan(150);
  });

  test("a process that spins is past its deadline, and not before", async () => {
    const child = await begun(SPIN);
    const before = computedMs(child.pid)!;
    expect(await limitOf(child, 300)).toBe("300 ms of computing");
    expect(computedMs(child.pid)! - before).toBeGreaterThanOrEqual(290);
  });

  test("one that is held up for longer than its deadline, and then goes on, is not", async () => {
    const child = await begun("setTimeout(() => console.log('done'), 100)");
    const expired: string[] = [];
    const deadline = cpuDeadline(child.pid, 500, (limit) => expired.push(limit));
    child.kill("SIGSTOP");
    await sleep(1_500);
    const done = new Promise((resolve) => child.stdout!.once("data", resolve));
    child.kill("SIGCONT");
    await done;
    deadline.stop();
    expect(expired).toEqual([]);
  });

  test("one that never goes on is, by the clock", async () => {
    const child = await begun(WAIT);
    child.kill("SIGSTOP");
    const started = performance.now();
    expect(await limitOf(child, 100)).toBe(byTheClock(100));
    expect(performance.now() - started).toBeGreaterThan(100 * CLOCK_FACTOR - 100);
  });

  test("a new start gives the whole time again", async () => {
    const child = await begun(SPIN);
    const from = computedMs(child.pid)!;
    let deadline: ReturnType<typeof cpuDeadline> | undefined;
    const expired = new Promise((resolve) => {
      deadline = cpuDeadline(child.pid, 1_000, resolve);
    });
    while (computedMs(child.pid)! - from < 200) await sleep(20);
    deadline!.restart();
    const again = computedMs(child.pid)!;
    await expired;
    expect(computedMs(child.pid)! - again).toBeGreaterThanOrEqual(980);
  });
});

test("where nothing tells what a process computes, the clock's time counts", async () => {
  expect(computedMs(undefined)).toBeNull();
  const started = performance.now();
  const limit = await new Promise((resolve) => cpuDeadline(undefined, 200, resolve));
  expect(limit).toBe("200 ms of computing");
  expect(performance.now() - started).toBeGreaterThan(190);
});

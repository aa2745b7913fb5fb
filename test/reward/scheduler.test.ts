// The scheduler on a made-up host: order under random delays and losses, who is charged when a worker is lost, and when it gives up.
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { random } from "../../src/data/random.js";
import { Cells } from "../../src/reward/cells.js";
import type { Fault } from "../../src/reward/faults.js";
import type { Batch, Host, Outcome } from "../../src/reward/host.js";
import { type Graded, gradeItems } from "../../src/reward/scheduler.js";
import { type Late, watch } from "../../src/reward/watch.js";
import { rewardInput } from "../helpers/rewards.js";

const lost: Fault = { code: "REWARD_LOST", message: "[made up] lost" };
const noFaults = new Map<number, Fault>();
const never = new AbortController().signal;
const items = (count: number) => Array.from({ length: count }, (_, i) => [rewardInput("x", { tokens: i })]);

/** A host that answers with each item's number, in its own time; `fate` may lose the worker. */
class MadeUpHost implements Host {
  readonly workers = 3;
  readonly alive = 0;
  readonly batches: number[][] = [];
  running = 0;
  most = 0;

  constructor(readonly fate: (numbers: readonly number[], call: number) => Partial<Outcome>) {}

  async run({ items: own }: Batch, signal: AbortSignal): Promise<Outcome> {
    signal.throwIfAborted();
    const numbers = own.map(([input]) => input!.tokens);
    const call = this.batches.push(numbers);
    this.most = Math.max(this.most, ++this.running);
    await pause(random(7, call).int(8));
    this.running--;
    const { suspects = [], faults = noFaults, lost: why = null, rewards } = this.fate(numbers, call);
    const all = new Map(numbers.map((number, at) => [at, Float64Array.of(number)] as const));
    return { rewards: rewards ?? all, faults, suspects, lost: why };
  }

  async dispose(): Promise<void> {}
}

const grade = (host: Host, count: number, onFault: (item: number, fault: Fault) => void = () => {}) =>
  gradeItems(host, items(count), { reward: 0, timeoutMs: 1, concurrency: 1, signal: never, onFault });

const shown = (graded: readonly Graded[]) => graded.map((one) => (one instanceof Float64Array ? one[0] : one.code));

describe("gradeItems", () => {
  test.each([0, 1, 2, 63, 64, 65, 1_000])(
    "%i items come back in their order, with no more batches at once than workers",
    async (n) => {
      const host = new MadeUpHost(() => ({}));
      expect(shown(await grade(host, n))).toEqual(Array.from({ length: n }, (_, i) => i));
      expect(host.batches.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
      expect(host.most).toBeLessThanOrEqual(3);
      expect(host.batches.every((batch) => batch.length <= 64)).toBe(true);
    },
  );

  test("workers that die charge one item each, whatever dies when", async () => {
    const guilty = (number: number) => number % 7 === 3;
    const host = new MadeUpHost((numbers) => {
      const at = numbers.findIndex(guilty);
      if (at < 0) return {};
      const done = new Map(numbers.slice(0, at).map((number, i) => [i, Float64Array.of(number)] as const));
      return { rewards: done, faults: new Map([[at, lost]]), lost };
    });
    const expected = Array.from({ length: 200 }, (_, i) => (guilty(i) ? "REWARD_LOST" : i));
    const charged: number[] = [];
    expect(shown(await grade(host, 200, (item) => charged.push(item)))).toEqual(expected);
    expect(charged.sort((a, b) => a - b)).toEqual(expected.flatMap((one, i) => (typeof one === "string" ? [i] : [])));
  });

  test("of several in hand the guilty one is found by grading each alone", async () => {
    const host = new MadeUpHost((numbers) => {
      const at = numbers.indexOf(5);
      if (at < 0) return {};
      if (numbers.length === 1) return { rewards: new Map(), faults: new Map([[0, lost]]), lost };
      const suspects = [at - 1, at, at + 1].filter((each) => each >= 0 && each < numbers.length);
      return { rewards: new Map(), suspects, lost };
    });
    expect(shown(await grade(host, 12))).toEqual([0, 1, 2, 3, 4, "REWARD_LOST", 6, 7, 8, 9, 10, 11]);
    expect(host.batches).toContainEqual([5]);
  });

  test("workers that end again and again before they begin are an error", async () => {
    const host = new MadeUpHost(() => ({ rewards: new Map(), lost }));
    await expect(grade(host, 4)).rejects.toMatchObject({
      code: "REWARD_WORKER",
      message: expect.stringContaining("made up"),
    });
    expect(host.running).toBe(0);
  });

  test("an error of the caller stops the other lanes and is what it rejects with", async () => {
    const host = new MadeUpHost(() => ({ rewards: new Map(), faults: new Map([[0, lost]]) }));
    const stop = () => {
      throw new Error("enough");
    };
    await expect(grade(host, 500, stop)).rejects.toThrow("enough");
    expect(host.running).toBe(0);
    expect(host.batches.length).toBeLessThanOrEqual(6);
  });
});

describe("cells", () => {
  test("both sides see states and rewards of items of any size", () => {
    const cells = new Cells([1, 3, 0, 2]);
    const other = new Cells([1, 3, 0, 2], cells.buffer);
    expect(other.hasBegun()).toBe(false);
    other.start(1);
    other.start(3);
    expect([cells.inHand(), cells.hasBegun()]).toEqual([[1, 3], true]);
    other.finish(1, [1, 2, 3]);
    other.fail(3);
    other.beat();
    expect([...cells.rewards(1)]).toEqual([1, 2, 3]);
    expect([cells.isDone(1), cells.isDone(3), cells.inHand(), cells.beats]).toEqual([true, false, [], 1]);
  });
});

describe("watch", () => {
  // By a clock that goes from timer to timer, so that a busy machine is late for none.
  beforeEach(() => {
    vi.useFakeTimers();
    vi.setTimerTickMode("nextTimerAsync");
  });
  afterEach(() => void vi.useRealTimers());
  const wait = (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms));
  const limits = { timeoutMs: 60, loadMs: 150, where: "made up" };
  const told = (cells: Cells) => new Promise<Late>((resolve) => watch(cells, limits, resolve));

  test("one item in hand for too long is to blame", async () => {
    const cells = new Cells([1, 1]);
    cells.start(1);
    expect(await told(cells)).toMatchObject({ guilty: [1], fault: { code: "REWARD_TIMEOUT" } });
  });

  test("of several, those over their time while the heart beats; nobody while it stands still", async () => {
    const make = () => {
      const cells = new Cells([1, 1]);
      cells.start(0);
      setTimeout(() => cells.start(1), 45);
      return cells;
    };
    const beating = make();
    const heart = setInterval(() => beating.beat(), 10);
    expect((await told(beating)).guilty).toEqual([0]);
    clearInterval(heart);
    const blocked = new Cells([1, 1]);
    blocked.start(0);
    blocked.start(1);
    const patient = { ...limits, timeoutMs: 400 };
    const late = await new Promise<Late>((resolve) => watch(blocked, patient, resolve));
    expect(late.guilty).toEqual([]);
  });

  test("a worker that does not begin has a module that does not load", async () => {
    const late = await told(new Cells([1]));
    expect(late.fault).toMatchObject({ code: "REWARD_MODULE_LOAD", message: expect.stringContaining("within 150 ms") });
    const begun = new Cells([1, 1]);
    begun.fail(0);
    expect((await told(begun)).fault.code).toBe("REWARD_LOST");
  });

  test("items that move on are never late, and a watch that was stopped is silent", async () => {
    const cells = new Cells(Array.from({ length: 20 }, () => 1));
    const late: Late[] = [];
    const watcher = watch(cells, limits, (one) => late.push(one));
    for (let item = 0; item < 20; item++) {
      cells.start(item);
      await wait(10);
      cells.finish(item, [1]);
    }
    watcher.stop();
    await wait(200);
    expect(late).toEqual([]);
  });
});

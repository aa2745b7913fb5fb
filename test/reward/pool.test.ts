// Rewards by settings through real workers: what they give, in which order, and what bad modules and bad samples cost.
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { RewardPool } from "../../src/reward/pool.js";
import type { RewardSettings } from "../../src/reward/spec.js";
import { inputsOf, modulePath, processesWith, rewardInput } from "../helpers/rewards.js";
import { temporaryFolder } from "../helpers/temporary.js";

const lengths = modulePath("lengths.ts");
const hostile = modulePath("hostile.mjs");
const workers = 2;

let pool: RewardPool | null = null;
afterEach(async () => {
  await pool?.dispose();
  expect(pool?.workers ?? 0).toBe(0);
  pool = null;
});

async function make(...rewards: RewardSettings[]): Promise<RewardPool> {
  pool = await RewardPool.create(rewards, { workers });
  return pool;
}

const rows = (rewards: readonly Float64Array[]) => rewards.map((row) => [...row]);

describe("rewards", () => {
  test("a verifier alone is the reward itself", async () => {
    const { rewards, failures, parts } = await (await make({ kind: "maths" })).score(inputsOf(["4", "5"], ["8/2"]));
    expect(rows(rewards)).toEqual([[1, 0], [1]]);
    expect(failures).toEqual([]);
    expect(parts.map(({ name, weight }) => [name, weight])).toEqual([["maths", 1]]);
  });

  test("several are summed by their weights and kept apart, modules on threads and in processes alike", async () => {
    const { names, weights } = await make(
      { kind: "exact", weight: 2 },
      { module: lengths, isolate: "thread", name: "thread", weight: 0.5 },
      { module: lengths, weight: -1 },
    );
    expect([names, weights]).toEqual([
      ["exact", "thread", "lengths"],
      [2, 0.5, -1],
    ]);
    const { rewards, parts } = await pool!.score([[rewardInput("4"), rewardInput("four", { finish: "stop" })]]);
    expect(parts.map((part) => rows(part.rewards))).toEqual([[[1, 0]], [[1, 4.5]], [[1, 4.5]]]);
    expect(rows(rewards)).toEqual([[1.5, -2.25]]);
  });

  test.each(["thread", "process"] as const)(
    "a module may see a problem's samples at once, in a %s",
    async (isolate) => {
      await make(
        { module: lengths, export: "longest", per: "group", isolate, name: "longest" },
        { module: lengths, export: "asTyped", per: "group", isolate, name: "typed" },
      );
      const { parts } = await pool!.score(inputsOf(["a", "bbb", "cc"], [], ["dd"]));
      expect(parts.map((part) => rows(part.rewards))).toEqual([
        [[0, 1, 0], [], [1]],
        [[4, 4, 4], [], [4]],
      ]);
    },
  );

  test.each(["thread", "process"] as const)(
    "results keep their place under random delays, in a %s",
    async (isolate) => {
      await make({ module: lengths, export: "slowFirst", isolate, concurrency: 5 });
      const texts = Array.from({ length: 90 }, (_, i) => "x".repeat(1 + ((i * 37) % 11)));
      const delayed = () => [texts.map((text) => rewardInput(text, { tokens: Math.floor(40 * Math.random()) }))];
      const expected = [texts.map((text) => text.length)];
      for (const _ of [1, 2, 3]) expect(rows((await pool!.score(delayed())).rewards)).toEqual(expected);
    },
  );

  test("calls at once share the workers", async () => {
    await make({ kind: "maths" }, { module: lengths });
    const scores = await Promise.all(Array.from({ length: 20 }, () => pool!.score(inputsOf(["4", "55"]))));
    for (const { rewards } of scores) expect(rows(rewards)).toEqual([[2, 2]]);
    expect(pool!.workers).toBeLessThanOrEqual(2 * workers);
  });

  test("no samples, no rewards", async () => {
    expect((await (await make({ kind: "maths" })).score([])).rewards).toEqual([]);
    expect(rows((await pool!.score([[], []])).rewards)).toEqual([[], []]);
  });

  test("a record that a verifier cannot grade is found before", async () => {
    await make({ kind: "maths" }, { kind: "choice", field: "letter" });
    expect(() => pool!.checkRecord({ answer: "4", letter: "B" })).not.toThrow();
    expect(() => pool!.checkRecord({ answer: "4" })).toThrow(/right answer in field "letter", got a record of answer/);
    expect(() => pool!.checkRecord({ answer: [4], letter: "B" })).toThrow(/text or a number in field "answer"/);
  });
});

describe("a bad sample costs itself", () => {
  const share = { maxErrorShare: 1 };
  const anywhere = ["exit", "loop", "never", "late loop", "pattern", "throw null", "throw trap", "reject", "stray"];
  const everywhere = [...anywhere, "error", "unhandled", "NaN", "undefined", "text", "list"];
  const inProcess = ["kill", "abort", "buffers", "heap"];
  const waiting = ["exit", "loop", "never", "late loop", "reject", "stray", "NaN"];

  const codes: Readonly<Record<string, string>> = {
    exit: "REWARD_LOST",
    kill: "REWARD_LOST",
    abort: "REWARD_LOST",
    stray: "REWARD_LOST",
    unhandled: "REWARD_LOST",
    loop: "REWARD_TIMEOUT",
    never: "REWARD_TIMEOUT",
    "late loop": "REWARD_TIMEOUT",
    pattern: "REWARD_TIMEOUT",
    NaN: "REWARD_VALUE",
    undefined: "REWARD_VALUE",
    text: "REWARD_VALUE",
    list: "REWARD_VALUE",
  };

  // Memory that the system refuses is an exception where there is room for one, else the end of the process; a full heap may take long to
  // fill on a busy machine.
  const acceptable: Readonly<Record<string, string>> = {
    buffers: "REWARD_THREW REWARD_LOST REWARD_TIMEOUT",
    heap: "REWARD_LOST REWARD_TIMEOUT",
  };

  test.each([
    ["thread", 1, everywhere],
    ["thread", 8, waiting],
    ["process", 1, [...everywhere, ...inProcess]],
    ["process", 8, [...waiting, "kill"]],
  ] as const)("in a %s, %i in hand at once", async (isolate, concurrency, acts) => {
    await make({ module: hostile, isolate, concurrency, timeoutMs: 1_500, memoryMb: 128 });
    const texts = acts.flatMap((act, i) => [act, "fine".repeat(i + 1)]);
    const { rewards, failures } = await pool!.score(inputsOf(texts), share);
    expect(failures.map(({ index }) => texts[index])).toEqual(acts);
    expect([...rewards[0]!]).toEqual(texts.map((text, i) => (i % 2 === 0 ? Number.NaN : text.length)));
    for (const { index, error, sample } of failures) {
      const act = texts[index]!;
      const expected = acceptable[act] ?? codes[act] ?? "REWARD_THREW";
      expect([act, expected]).toEqual([act, expect.stringContaining((error as Error & { code: string }).code)]);
      expect(error.message).toContain("hostile.mjs]");
      expect(sample).toBe(act);
    }
  });

  test("messages say what came", async () => {
    await make({ module: hostile, isolate: "thread" });
    const { failures } = await pool!.score(
      inputsOf(["NaN", "undefined", "text", "list", "error", "throw null", "throw trap", "reject"]),
      share,
    );
    expect(failures.map(({ error }) => error.message.slice(error.message.indexOf("]") + 2))).toEqual([
      "expected a finite number, got NaN; correct the function",
      "expected a finite number, got undefined; correct the function",
      'expected a finite number, got the text "0.5"; correct the function',
      "expected a finite number, got an object [1]; correct the function",
      "threw RangeError: out of range",
      "threw null",
      "threw a value of type object that cannot be shown",
      'threw the text "a text"',
    ]);
  });

  test("a group with one value too few fails as a whole", async () => {
    await make({ module: lengths, export: "tooFew", per: "group", isolate: "thread" });
    const { rewards, failures } = await pool!.score(inputsOf(["a"], ["b", "c"]), share);
    expect(rows(rewards)).toEqual([[1], [Number.NaN, Number.NaN]]);
    expect(failures.map(({ index }) => index)).toEqual([1, 2]);
    expect(failures[0]!.error.message).toMatch(/expected 2 finite numbers, one for each sample, got a list of 1/);
  });

  test("a verifier's pattern that never ends costs its sample, and the others of its batch nothing", async () => {
    await make({ kind: "format", thinking: "", pattern: "^(a+)+$", timeoutMs: 1_500 });
    const texts = ["aaa", "b", `${"a".repeat(40)}b`, "aa"];
    const { rewards, failures } = await pool!.score(inputsOf(texts), share);
    expect(rows(rewards)).toEqual([[1, 0, Number.NaN, 1]]);
    expect(failures[0]!.error.message).toBe(
      "[reward format] expected a reward within 1500 ms, got none; raise timeoutMs, or correct the function",
    );
  });

  test("what a module starts ends with it", async () => {
    await make({ module: hostile, timeoutMs: 500 });
    const seconds = String(1_000_000 + process.pid);
    const { failures } = await pool!.score([[rewardInput("orphan", { record: { answer: seconds } })]], share);
    expect(failures).toHaveLength(1);
    expect(processesWith(`sleep ${seconds}`)).toEqual([]);
  });

  test("one reward that fails takes the sample out of the sum", async () => {
    await make({ kind: "exact", field: "answer" }, { module: hostile, isolate: "thread" });
    const { rewards, parts } = await pool!.score(inputsOf(["4", "NaN"]), share);
    expect(rows(rewards)).toEqual([[2, Number.NaN]]);
    expect(rows(parts[0]!.rewards)).toEqual([[1, 0]]);
  });

  test("too many stop the run and say which reward, how many, and the first with its sample", async () => {
    await make({ kind: "exact" }, { module: hostile, isolate: "thread" });
    const scoring = pool!.score(inputsOf(["4", "NaN", "error", "4"]), { maxErrorShare: 0.4 });
    await expect(scoring).rejects.toMatchObject({
      code: "REWARD_ERRORS",
      message: expect.stringMatching(
        /^\[reward hostile\] expected at most 40% of 4 rewards to fail, got 2 failures; .* on sample 1 \("NaN"\): \[reward .*hostile\.mjs\]/,
      ),
    });
    expect(rows((await pool!.score(inputsOf(["4", "5"]))).rewards)).toEqual([[2, 1]]);
  });

  test("what modules print goes to stderr", async () => {
    const written: string[] = [];
    const write = process.stdout.write;
    process.stdout.write = ((text: string) => written.push(String(text)) > 0) as typeof write;
    try {
      await make({ module: hostile, isolate: "thread" });
      expect(rows((await pool!.score(inputsOf(["print"]))).rewards)).toEqual([[7]]);
    } finally {
      process.stdout.write = write;
    }
    expect(written.join("")).not.toContain("by a reward");
  });
});

describe("a bad module is refused before anything is graded", () => {
  const broken = join(temporaryFolder("reward"), "broken.ts");
  writeFileSync(broken, "export default (: number => 1;\n");

  test.each(["thread", "process"] as const)("in a %s", async (isolate) => {
    const create = (module: string, name = "default") =>
      RewardPool.create([{ module, export: name, isolate }], {
        workers,
        loadMs: module.includes("hangs") ? 2_000 : 60_000,
      });
    const at = (name: string) => modulePath(name);
    const refused = async (module: string, code: string, message: RegExp, name?: string) =>
      await expect(create(module, name)).rejects.toMatchObject({
        name: "InputError",
        code,
        message: expect.stringMatching(message),
      });
    await refused(
      at("none.ts"),
      "REWARD_MODULE_MISSING",
      /none\.ts\] expected a .ts, .mts, .js or .mjs file, got nothing/,
    );
    await refused(at("."), "REWARD_MODULE_MISSING", /something that is not a file/);
    await refused(
      lengths,
      "REWARD_MODULE_EXPORT",
      /"longist", got a module that exports .*did you mean "longest"/,
      "longist",
    );
    await refused(lengths, "REWARD_MODULE_EXPORT", /"notAFunction", got 7/, "notAFunction");
    await refused(at("throws.mjs"), "REWARD_MODULE_LOAD", /throws\.mjs\] .*threw Error: broken at import/);
    await refused(broken, "REWARD_MODULE_LOAD", /broken\.ts\] expected a module that can be imported/);
    await refused(
      at("hangs.mjs"),
      "REWARD_MODULE_LOAD",
      /hangs\.mjs\] expected a module that is imported within 2000 ms/,
    );
    await refused(at("exits.mjs"), "REWARD_MODULE_LOAD", /exits\.mjs\] .*the end of its worker \(.*exit.* 0\)/);
  });

  test.each([
    [[], "REWARD_NONE", /at least one reward/],
    [[{ kind: "mathz" }], "REWARD_SPEC", /\[rewards\.0/],
    [[{ kind: "maths", weight: "x" }], "REWARD_SPEC", /\[rewards\.0\.weight\]/],
    [[{ kind: "maths" }, { kind: "maths" }], "REWARD_NAME", /"maths" twice; set its name/],
    [[{ kind: "maths", name: "errors" }], "REWARD_NAME", /a metric of the loop/],
    [[{ kind: "format", pattern: "(" }], "FORMAT_PATTERN", /regular expression/],
    [[{ kind: "choice", labels: ["A"] }], "CHOICE_OPTIONS", /two distinct labels/],
  ])("settings %j", async (settings, code, message) => {
    await expect(RewardPool.create(settings as RewardSettings[])).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test("leaves no worker, folder or handle", async () => {
    const own = temporaryFolder("reward");
    vi.stubEnv("TMPDIR", own); // other tests have theirs in the common one
    const folders = () => readdirSync(own).filter((name) => name.startsWith("zazen-rewards-"));
    const good = await RewardPool.create([{ module: modulePath("plain.mjs") }]);
    expect(folders()).toHaveLength(1);
    await good.dispose();
    await expect(RewardPool.create([{ module: modulePath("throws.mjs") }])).rejects.toThrow();
    expect(folders()).toEqual([]);
    vi.unstubAllEnvs();
  });
});

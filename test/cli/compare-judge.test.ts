// `zazen compare --judge`: held-out answers of two runs by a reward model, whose scores Python gives too, and by a judge at an endpoint; and what
// no judge can say anything of.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { compare } from "../../src/cli/compare.js";
import { pageOf } from "../../src/cli/compare-words.js";
import { winShare } from "../../src/objective/intervals.js";
import { type ChatServer, chatServer, completion } from "../helpers/chat-server.js";
import { fixture } from "../helpers/files.js";
import { type PastRunOptions, pastRun } from "../helpers/past-runs.js";
import { expected, rewardFolder } from "../helpers/reward-models.js";
import { temporaryFolder } from "../helpers/temporary.js";
import { cliIsBuilt, failure, json, zazen } from "./process.js";

const judge = fixture("reward/llama");
const never = new AbortController().signal;
const asks = (answer: string) =>
  expected.cases.find(({ messages, answer: own }) => messages.length === 1 && own.startsWith(answer))!;
const [hello, marks, poisoned] = ["Hello!", "[NULL]", "a poisoned"].map(asks);
/** Ten problems, all of which ask the same. */
const run = (answer: (problem: number) => string, more: PastRunOptions = {}) =>
  pastRun({ question: () => "Hi", answer, ...more });
const a = () => run(() => hello!.answer);
/** Better in seven of ten, as good in two, worse nowhere; one answer has no score. */
const mixed = (problem: number) => (problem === 9 ? poisoned!.answer : problem < 7 ? marks!.answer : hello!.answer);

const servers: ChatServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server[Symbol.asyncDispose]();
});

async function longerWins(): Promise<ChatServer> {
  const server = await chatServer(({ body, n }) => {
    if (n % 4 === 0) return { body: completion("I cannot tell.") };
    const text = body.messages[0]!.content;
    const [one, two] = ["a", "b"].map((name) => new RegExp(`<response_${name}>\\n([^]*?)\\n<`).exec(text)![1]!.length);
    return { body: completion(`Verdict: ${one! > two! ? "A" : one! < two! ? "B" : "tie"}`) };
  });
  servers.push(server);
  return server;
}

describe("a reward model", () => {
  test("wins of the second run, ties half, and the scores of Python", async () => {
    const names = [a(), run(mixed), run(() => hello!.answer)];
    const { comparison } = await compare(names, { judge }, never);
    const wins = winShare([1, 1, 1, 1, 1, 1, 1, 0.5, 0.5]);
    expect(comparison.judge).toEqual({ name: judge, wins: [null, wins, winShare(Array(10).fill(0.5))] });
    const of = (name: string) => comparison.measures.find((measure) => measure.name === name)!;
    expect(of("judge/win_rate").values[1]).toEqual({ mean: 8 / 9, interval: wins.interval, n: 9 });
    expect(of("judge/score").values[0]!.mean).toBeCloseTo(hello!.score!, 5);
    const better = marks!.score! - hello!.score!;
    expect(of("judge/score").differences[1]).toMatchObject({ n: 9, how: "paired problems" });
    expect(of("judge/score").differences[1]!.mean).toBeCloseTo((7 * better) / 9, 5);
    expect(comparison.notes).toEqual([
      `${judge} judges ${names[1]} against ${names[0]}: 7 wins, 2 ties, 0 losses on 9 problems`,
      `${judge} judges ${names[2]} against ${names[0]}: 0 wins, 10 ties, 0 losses on 10 problems`,
      expect.stringMatching(/: 1 answers of .* have no score; the first, .*expected a score that is a finite number/),
    ]);
  });

  test("its wins are drawn with their interval, and so is how thoughts are written while training", async () => {
    const names = [a(), run(mixed, { figures: (step) => ({ "style/list_items": step }) })];
    const { runs, comparison } = await compare(names, { judge }, never);
    const { intervals, plots } = pageOf(runs, comparison);
    const { rate: mean, interval } = winShare([1, 1, 1, 1, 1, 1, 1, 0.5, 0.5]);
    expect(intervals).toMatchObject([{ title: expect.stringContaining(judge), points: [null, { mean, interval }] }]);
    const style = plots.find(({ title }) => title === "Thoughts: list items")!;
    expect(style.curves.map((curve) => curve.length)).toEqual([0, 20]);
    const without = await compare(names, {}, never);
    expect(pageOf(without.runs, without.comparison).intervals).toEqual([]);
  });

  test("one that a run was trained on is no second opinion, and says so", async () => {
    const trained = run(mixed, { recipe: "rlmt", config: { reward: { model: judge } } });
    const other = run(() => "", { recipe: "rlmt", config: { rewards: [{ kind: "model", model: judge }] } });
    const { comparison } = await compare([a(), trained, other], { judge }, never);
    expect(comparison.notes).toContain(`${judge} is what ${trained} and ${other} was trained on: no second opinion`);
    expect(comparison.notes.some((note) => note.startsWith("the rewards are not the same"))).toBe(true);
  });

  test("settings reach it: a text is cut, which is said", async () => {
    const { comparison } = await compare([a(), run(mixed)], { judge, set: ["maxTokens=30"] }, never);
    expect(comparison.notes).toContainEqual(expect.stringMatching(/10 answers of .* are cut off/));
  });

  test.each<[string, () => [string[], { judge: string; set?: string[]; keep?: string }], string, RegExp]>([
    [
      "runs without a common problem",
      () => [[a(), run(mixed, { question: String })], { judge }],
      "COMPARE_JUDGE",
      /asked in the same words, got none in/,
    ],
    [
      "runs without answers",
      () => [[a(), run(mixed, { heldOut: {} })], { judge }],
      "COMPARE_JUDGE",
      /held-out problems/,
    ],
    [
      "a language model",
      () => [[a(), a()], { judge: fixture("tiny") }],
      "REWARD_MODEL_KIND",
      /expected a sequence classifier/,
    ],
    ["no folder", () => [[a(), a()], { judge: "no/such" }], "MODEL_MISSING", /no\/such/],
    [
      "one without a chat template",
      () => [[a(), a()], { judge: rewardFolder({ safetensors: true, template: false }) }],
      "CHAT_TEMPLATE_MISSING",
      /of the reward model's own, got none/,
    ],
    [
      "scores that are not finite",
      () => [[a(), run(() => poisoned!.answer)], { judge }],
      "COMPARE_JUDGE",
      /got none for 10 of 10; the first, .*finite number/,
    ],
    ["a misspelt setting", () => [[a(), a()], { judge, set: ["maxToken=3"] }], "RECIPE_KEY", /maxTokens/],
    ["answers kept of a reward model", () => [[a(), a()], { judge, keep: "kept.jsonl" }], "USAGE", /--keep/],
  ])("refuses %s", async (_, input, code, message) => {
    const [names, flags] = input();
    const failed = compare(names, flags, never);
    await expect(failed).rejects.toMatchObject({ code });
    await expect(failed).rejects.toThrow(message);
  });

  test.each<[string, string, RegExp]>([
    ["that refuses every answer", "{{ raise_exception('no') }}", /got: no\b/],
    ["that is of another language", "{% this is none", /CHAT_TEMPLATE|expected a chat template/],
  ])("refuses a template %s", async (_, template, message) => {
    const folder = rewardFolder({ safetensors: true, template: false });
    writeFileSync(join(folder, "chat_template.jinja"), template);
    const failed = compare([a(), a()], { judge: folder }, never);
    await expect(failed).rejects.toMatchObject({ code: "CHAT_TEMPLATE_FAILED" });
    await expect(failed).rejects.toThrow(message);
  });

  test("an abort ends it with its reason", async () => {
    const reason = new Error("enough");
    await expect(compare([a(), a()], { judge }, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

describe("a judge at an endpoint", () => {
  test("sees two answers at once; answers without a verdict are counted, and kept ones not asked for again", async () => {
    const server = await longerWins();
    const keep = join(temporaryFolder("compare-judge"), "verdicts.jsonl");
    const flags = { judge: server.url, set: ["endpoint.model=wise", "seed=4", "endpoint.concurrency=1"], keep };
    const names = [run(() => "short"), run((problem) => "x".repeat(problem))];
    const { comparison } = await compare(names, flags, never);
    const { wins } = comparison.judge!;
    expect(comparison.judge!.name).toBe("wise");
    expect(wins[1]!.n).toBeLessThan(10);
    expect(wins[1]!.wins + wins[1]!.losses + wins[1]!.ties).toBe(wins[1]!.n);
    expect(comparison.notes).toContainEqual(expect.stringMatching(/^wise: \d answers on .* have no verdict$/));
    const asked = server.asked.length;
    expect(asked).toBe(10);
    expect((await compare(names, flags, never)).comparison.judge).toEqual(comparison.judge);
    expect(server.asked).toHaveLength(asked);
  });

  test("one that fails in the middle loses no answer", async () => {
    const state = { down: true };
    const server = await chatServer(({ n }) =>
      n > 6 && state.down ? { status: 503, body: "down" } : { body: completion("Verdict: A") },
    );
    servers.push(server);
    const set = ["endpoint.model=wise", "endpoint.concurrency=1", "endpoint.retries=0"];
    const names = [run(() => "short"), run((problem) => "x".repeat(problem + 1))];
    const flags = { judge: server.url, set };
    await expect(compare(names, flags, never)).rejects.toMatchObject({ code: "ENDPOINT_DOWN" });
    state.down = false;
    expect((await compare(names, flags, never)).comparison.judge!.wins[1]!.n).toBe(10);
    expect(server.asked).toHaveLength(7 + 4);
  });

  test("is not asked where there is nothing in common", async () => {
    const server = await longerWins();
    const flags = { judge: server.url, set: ["endpoint.model=wise"] };
    await expect(compare([a(), run(mixed, { question: String })], flags, never)).rejects.toMatchObject({
      code: "COMPARE_JUDGE",
    });
    expect(server.asked).toEqual([]);
  });
});

describe.skipIf(!cliIsBuilt)("zazen compare --judge", { timeout: 60_000 }, () => {
  test("in the table, in --json, and on the page", () => {
    const out = join(temporaryFolder("compare-judge"), "page.html");
    const names = [a(), run(mixed)];
    const { status, stdout } = zazen(["compare", ...names, "--judge", judge, "--out", out]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^wins against A, ties half +- +0\.889 \[0\.\d+, 0?\.?\d+\.?\d*\]$/m);
    expect(stdout).toContain("7 wins, 2 ties, 0 losses on 9 problems");
    expect(readFileSync(out, "utf8")).toContain("wins against A, ties half");
    const { judge: found } = json<{ judge: unknown }>(["compare", ...names, "--judge", judge]);
    expect(found).toMatchObject({ wins: [null, { wins: 7, ties: 2, losses: 0 }] });
    expect(failure(["compare", ...names, "--judge", "nowhere"])).toMatchObject({ status: 2, code: "MODEL_MISSING" });
    expect(failure(["compare", ...names, "--set", "maxTokens=3"])).toMatchObject({ status: 2, code: "USAGE" });
    expect(existsSync("nowhere")).toBe(false);
  });

  test("a template that loops ends within its deadline", () => {
    const folder = join(temporaryFolder("compare-judge"), "model");
    mkdirSync(folder);
    cpSync(rewardFolder({ safetensors: true, template: false }), folder, { recursive: true });
    rmSync(join(folder, "chat_template.jinja"), { force: true });
    const loops = "{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}";
    writeFileSync(join(folder, "chat_template.jinja"), loops);
    const began = performance.now();
    expect(failure(["compare", a(), a(), "--judge", folder])).toMatchObject({
      status: 2,
      code: "CHAT_TEMPLATE_FAILED",
    });
    expect(performance.now() - began).toBeLessThan(30_000);
  });
});

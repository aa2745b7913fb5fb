// Judges of pairs: what they are asked in which order, how their answers are read, and what becomes of pairs.
import { describe, expect, test } from "vitest";
import { Endpoint } from "../../../src/endpoint/endpoint.js";
import type { ChatSource } from "../../../src/endpoint/types.js";
import { winShare } from "../../../src/objective/intervals.js";
import { type JudgeOptions, judgeAnswers, judgementOf, judgeTraits } from "../../../src/reward/judge/judge.js";
import { judgeSettings } from "../../../src/reward/judge/settings.js";
import {
  ANSWER_TEMPLATE,
  type Pair,
  parseVerdict,
  questionText,
  secondScore,
  TRAIT_TEMPLATE,
  TRAITS,
} from "../../../src/reward/judge/verdict.js";
import { chatServer, completion, settingsOf } from "../../helpers/chat-server.js";

const pairs: readonly Pair[] = Array.from({ length: 40 }, (_, i) => ({
  ...{ prompt: `Question ${i}?`, first: `weak answer ${i}`, second: `strong answer ${i}` },
}));

/** A judge in this process. */
function judgeWho(says: (question: string) => string) {
  const asked: string[] = [];
  const source: ChatSource = {
    chat: async ({ messages }) => {
      asked.push(messages[0]!.content);
      return { text: says(messages[0]!.content), finish: "stop", usage: null, attempts: 1 };
    },
  };
  return { source, asked };
}

/** Whether the strong answer stands as A. */
const strongIsA = (question: string) => question.indexOf("strong answer") < question.indexOf("weak answer");
const fair = (question: string) => `I prefer it.\nVerdict: ${strongIsA(question) ? "A" : "B"}`;

describe("parseVerdict", () => {
  test.each([
    ["Verdict: A", "A"],
    ["B is clearer.\n\nVerdict: B", "B"],
    ["**Verdict: b**", "B"],
    ["### Final verdict: [[A]]", "A"],
    ["verdict - Tie.", "tie"],
    ["Verdict: **tie**  ", "tie"],
    ["<think>At first, verdict:\nVerdict: A</think>\nVerdict: A\nNo, on second thoughts:\nVerdict: B\n", "B"],
    ["A", "A"],
    [" [[b]]. ", "B"],
    ["tie", "tie"],
  ])("%j: %s", (text, verdict) => expect(parseVerdict(text)).toBe(verdict));

  test.each([
    "",
    "I cannot say.",
    "Verdict: A or B",
    "Verdict: C",
    "Verdict:",
    "The verdict is that A wins",
    "Verdict: Apple",
    "A is better",
    "My verdict: A because of B",
  ])("%j: none", (text) => expect(parseVerdict(text)).toBeNull());
});

describe("secondScore", () => {
  test.each([
    ["A", false, 0],
    ["B", false, 1],
    ["A", true, 1],
    ["B", true, 0],
    ["tie", false, 0.5],
    ["tie", true, 0.5],
  ] as const)("%s, swapped %s: %f", (verdict, swapped, score) => expect(secondScore(verdict, swapped)).toBe(score));
});

describe("questionText", () => {
  test("has each text once, in the order that was asked for, and looks for no names in them", () => {
    const pair = { prompt: "what is {a}?", first: "one {b}", second: "other {prompt} $1 $&" };
    const text = questionText("{trait}|{prompt}|{a}|{b}|{c}", pair, false, "t");
    expect(text).toBe("t|what is {a}?|one {b}|other {prompt} $1 $&|{c}");
    expect(questionText("{a}|{b}", pair, true)).toBe("other {prompt} $1 $&|one {b}");
  });

  test("the templates hold what they need", () => {
    for (const name of ["prompt", "a", "b"]) {
      expect(ANSWER_TEMPLATE.split(`{${name}}`)).toHaveLength(2);
      expect(TRAIT_TEMPLATE.split(`{${name}}`)).toHaveLength(2);
    }
    expect(TRAIT_TEMPLATE).toContain("{trait}");
  });
});

describe("judgeAnswers", () => {
  test("a fair judge finds the better one in either place", async () => {
    const { source, asked } = judgeWho(fair);
    const judgement = await judgeAnswers(source, pairs, { seed: 1 });
    expect(judgement).toEqual({
      ...{ scores: pairs.map(() => 1), wins: 40, ties: 0, losses: 0, unparsed: 0 },
      ...{ n: 40, rate: 1, interval: winShare(Array(40).fill(1)).interval },
    });
    const first = asked.filter(strongIsA).length;
    expect(first).toBeGreaterThan(8);
    expect(first).toBeLessThan(32);
  });

  test("the order is the seed's", async () => {
    const orders = async (seed: number) => {
      const { source, asked } = judgeWho(fair);
      await judgeAnswers(source, pairs, { seed });
      return asked.map(strongIsA);
    };
    expect(await orders(1)).toEqual(await orders(1));
    expect(await orders(1)).not.toEqual(await orders(2));
  });

  test("a judge who always says A is half right by drawn order, and never decides by both", async () => {
    const { source } = judgeWho(() => "Verdict: A");
    const drawn = await judgeAnswers(source, pairs, { seed: 1 });
    expect(drawn.rate).toBeGreaterThan(0.2);
    expect(drawn.rate).toBeLessThan(0.8);
    const both = judgeWho(() => "Verdict: A");
    const judgement = await judgeAnswers(both.source, pairs, { bothOrders: true });
    expect(both.asked).toHaveLength(80);
    expect(judgement).toMatchObject({ wins: 0, ties: 40, losses: 0, rate: 0.5 });
  });

  test("answers without a verdict are counted, and no ties", async () => {
    const mute = (question: string) => Number(/Question (\d+)/.exec(question)![1]) % 4 === 0;
    const { source } = judgeWho((question) => (mute(question) ? "Hm." : fair(question)));
    const judgement = await judgeAnswers(source, pairs);
    expect(judgement).toMatchObject({ wins: 30, ties: 0, losses: 0, unparsed: 10, rate: 1 });
    expect(judgement.scores.filter((score) => score === null)).toHaveLength(10);
    // In one of two orders: the other one counts.
    const half = judgeWho((question) => (strongIsA(question) ? "Hm." : fair(question)));
    expect(await judgeAnswers(half.source, pairs, { bothOrders: true })).toMatchObject({ wins: 40, unparsed: 40 });
  });

  test("answers that are kept are not asked for", async () => {
    const kept = new Map<string, string>();
    const { source, asked } = judgeWho(fair);
    const options: JudgeOptions = { known: kept, onAnswer: ({ key, text }) => kept.set(key, text) };
    const once = await judgeAnswers(source, pairs, options);
    expect(asked).toHaveLength(40);
    expect(await judgeAnswers(source, pairs, options)).toEqual(once);
    expect(asked).toHaveLength(40);
    await judgeAnswers(
      source,
      [...pairs, { prompt: "One more?", first: "weak answer", second: "strong answer" }],
      options,
    );
    expect(asked).toHaveLength(41);
  });

  test("an abort ends it with its reason", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const { source, asked } = judgeWho((question) => {
      if (asked.length === 5) controller.abort(reason);
      return fair(question);
    });
    await expect(judgeAnswers(source, pairs, { signal: controller.signal, window: 2 })).rejects.toBe(reason);
    expect(asked.length).toBeLessThan(10);
  });

  test("nothing to judge is no rate", async () => {
    expect(await judgeAnswers(judgeWho(fair).source, [])).toMatchObject({ scores: [], rate: null, interval: null });
  });
});

describe("judgementOf", () => {
  test("by hand", () => {
    const { interval, ...others } = judgementOf([1, 1, null, 0.5, 0], 3);
    expect(others).toEqual({
      ...{ scores: [1, 1, null, 0.5, 0], n: 4, wins: 2, ties: 1, losses: 1, unparsed: 3, rate: 0.625 },
    });
    expect(interval).toEqual(winShare([1, 1, 0.5, 0]).interval); // what has no verdict is in no pair
  });
});

describe("judgeTraits", () => {
  test("asks for each trait of each pair, with an order of its own", async () => {
    const traits = { long: "It is long.", short: "It is short." };
    const { source, asked } = judgeWho((question) =>
      question.includes("Trait: It is long.") ? fair(question) : "Verdict: tie",
    );
    const found = await judgeTraits(source, pairs, traits, { seed: 5 });
    expect(found.long).toMatchObject({ rate: 1, wins: 40 });
    expect(found.short).toMatchObject({ rate: 0.5, ties: 40 });
    expect(asked).toHaveLength(80);
    expect(asked.slice(0, 40).map(strongIsA)).not.toEqual(asked.slice(40).map(strongIsA));
  });

  test("traits have names and descriptions", () => {
    expect(Object.keys(TRAITS).length).toBeGreaterThan(5);
    for (const text of Object.values(TRAITS)) expect(text).toMatch(/^The plan .*\.$/);
  });
});

describe("through an endpoint", () => {
  test("counts what it refuses, and stops where it refuses everything", async () => {
    await using server = await chatServer(({ n, body }) =>
      n % 3 === 0
        ? { status: 400, body: { error: { message: "too long" } } }
        : n % 3 === 1
          ? { body: completion("") }
          : { body: completion(fair(body.messages[0]!.content)) },
    );
    const endpoint = await Endpoint.open(settingsOf(server.url, { concurrency: 1 }));
    expect(await judgeAnswers(endpoint, pairs.slice(0, 39))).toMatchObject({ wins: 13, unparsed: 26 });
    await using wall = await chatServer(() => ({ status: 400 }));
    const refusing = await Endpoint.open(settingsOf(wall.url, { concurrency: 2 }));
    const failed = judgeAnswers(refusing, pairs, { maxFailures: 4, window: 4 });
    await expect(failed).rejects.toMatchObject({ code: "ENDPOINT_REFUSED" });
    expect(wall.asked.length).toBeLessThan(15);
  });

  test("ends with the failure of an endpoint that is down", async () => {
    await using server = await chatServer(({ n, body }) =>
      n > 6 ? { status: 503 } : { body: completion(fair(body.messages[0]!.content)) },
    );
    const endpoint = await Endpoint.open(settingsOf(server.url, { concurrency: 4, retries: 1 }));
    const kept: string[] = [];
    const failed = judgeAnswers(endpoint, pairs, { onAnswer: ({ text }) => kept.push(text) });
    await expect(failed).rejects.toMatchObject({ code: "ENDPOINT_DOWN" });
    expect(kept).toHaveLength(6);
  });
});

describe("settings", () => {
  test.each<[Record<string, unknown>, RegExp]>([
    [{ traits: { template: "{a} {b}" } }, /\[judge\] traits.template: expected a text with \{trait\}, \{a\}, \{b\}/],
    [{ traits: { list: {} } }, /traits.list: expected at least one trait/],
    [{ endpoint: { price: { input: -2 } } }, /endpoint.price.input/],
    [{ traits: { find: -1 } }, /traits.find/],
    [{ traits: { sumTemplate: "{notes}" } }, /traits.sumTemplate: expected a text with \{notes\}, \{count\}/],
    [{ bothOrder: true }, /\[judge\] expected a known key, got "bothOrder".*bothOrders/],
  ])("%j", (settings, message) => {
    expect(() => judgeSettings(settings)).toThrow(message);
    expect(() => judgeSettings(settings)).toThrow("See `zazen judge --help` for all settings.");
  });
});

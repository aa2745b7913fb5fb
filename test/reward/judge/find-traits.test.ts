// Traits that a judge finds by itself: how its notes are read, how they are summed up, and what becomes of junk.
import { describe, expect, test } from "vitest";
import { Endpoint } from "../../../src/endpoint/endpoint.js";
import { findTraits, NOTE_TEMPLATE, parseTraits, SUM_TEMPLATE } from "../../../src/reward/judge/find-traits.js";
import type { Pair } from "../../../src/reward/judge/verdict.js";
import { chatServer, completion, settingsOf } from "../../helpers/chat-server.js";

const pairs: readonly Pair[] = Array.from({ length: 6 }, (_, i) => ({
  ...{ prompt: `Question ${i}?`, first: `list ${i}`, second: `revision ${i}` },
}));
const isSum = (question: string) => question.includes("<notes>");

describe("parseTraits", () => {
  test.each<[string, Record<string, string>]>([
    ["Grouping: It groups ideas.", { grouping: "It groups ideas." }],
    ["- **Self-doubt**: It goes back: twice.", { "self-doubt": "It goes back: twice." }],
    ["1. **Listing:** It lists.\n2) Asking : It asks.", { listing: "It lists.", asking: "It asks." }],
    ["Here they are:\n\nTrait: Outline: It has a frame.\n", { outline: "It has a frame." }],
    ["Outline: One.\nOUTLINE: Two.", { outline: "One." }],
    ["Plan A: It lists.\nB: It revises.\nBoth are good.", {}],
    ["", {}],
    [":::\n - : x\n**: y", {}],
  ])("%j", (answer, traits) => expect(parseTraits(answer)).toEqual(traits));

  test("reads a long line of anything in no time", () => {
    const began = performance.now();
    for (const line of [
      " ".repeat(1e6),
      `-${" ".repeat(1e6)}`,
      "*".repeat(1e6),
      `a${" ".repeat(1e6)}b`,
      "1) ".repeat(1e5),
    ])
      expect(parseTraits(line)).toEqual({});
    expect(performance.now() - began).toBeLessThan(1_000);
  });
});

describe("findTraits", () => {
  const says = (note: (n: number) => string, sum: string) =>
    chatServer(({ n, body }) => ({ body: completion(isSum(body.messages[0]!.content) ? sum : note(n)) }));

  test("notes pairs in a drawn order, and sums the notes up", async () => {
    await using server = await says(
      (n) => (n === 2 ? "Hm." : `Listing: It lists, ${n}.\nDoubt: It doubts.`),
      "- **Lists**: It lists.\n- Doubts: It doubts.\n- Third: x",
    );
    const endpoint = await Endpoint.open(settingsOf(server.url, { concurrency: 1 }));
    const kept = new Map<string, string>();
    const options = {
      count: 2,
      seed: 3,
      known: kept,
      onAnswer: ({ key, text }: { key: string; text: string }) => void kept.set(key, text),
    };
    const found = await findTraits(endpoint, pairs, options);
    expect(found).toEqual({ traits: { lists: "It lists.", doubts: "It doubts." }, pairs: 6, notes: 10, unparsed: 1 });
    const asked = server.asked.map(({ body }) => body.messages[0]!.content);
    expect(
      asked.slice(0, 6).filter((text) => text.indexOf("list ") < text.indexOf("revision ")).length,
    ).toBeGreaterThan(0);
    expect(asked.slice(0, 6).filter((text) => text.indexOf("list ") < text.indexOf("revision ")).length).toBeLessThan(
      6,
    );
    expect(asked[6]).toContain("- listing: It lists, 1.\n- doubt: It doubts.\n- listing: It lists, 3.");
    expect(asked[6]).toContain("at most 2 traits");
    expect(await findTraits(endpoint, pairs, options)).toEqual(found);
    expect(server.asked).toHaveLength(7);
  });

  test.each<[string, (n: number) => string, string, RegExp]>([
    [
      "no notes",
      () => "I see no difference.",
      "Lists: It lists.",
      /expected notes on at least one of 6 pairs, got none; .*traits\.list/,
    ],
    [
      "a sum of another form",
      () => "Lists: It lists.",
      "They plan differently.",
      /expected lines of NAME: what it is, got "They plan/,
    ],
  ])("%s", async (_, note, sum, message) => {
    await using server = await says(note, sum);
    const failed = findTraits(await Endpoint.open(settingsOf(server.url)), pairs);
    await expect(failed).rejects.toMatchObject({ code: "JUDGE_TRAITS" });
    await expect(failed).rejects.toThrow(message);
  });

  test("a sum that the endpoint refuses is its refusal", async () => {
    await using server = await chatServer(({ body }) =>
      isSum(body.messages[0]!.content)
        ? { status: 400, body: { error: { message: "too long" } } }
        : { body: completion("Lists: It lists.") },
    );
    await expect(findTraits(await Endpoint.open(settingsOf(server.url)), pairs)).rejects.toMatchObject({
      code: "ENDPOINT_REFUSED",
    });
  });

  test("the templates hold what they need", () => {
    for (const name of ["prompt", "a", "b"]) expect(NOTE_TEMPLATE.split(`{${name}}`)).toHaveLength(2);
    for (const name of ["notes", "count"]) expect(SUM_TEMPLATE.split(`{${name}}`)).toHaveLength(2);
  });
});

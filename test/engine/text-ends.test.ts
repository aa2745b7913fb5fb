// What the bytes of tokens decide: stop strings across the borders of tokens, and constraints. Against slow readings of the same text.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { Constraint, GenerateResult, SamplingParams, TokenBytes } from "../../src/engine/types.js";
import { bitsOf, pack, smallSpec, unpack } from "../helpers/engine.js";
import { textOf, tokenBytes, toyVocabulary, written } from "../helpers/vocabulary.js";

const spec = { ...smallSpec, vocabSize: 79 };
const vocabulary = toyVocabulary(spec.vocabSize);
const END = spec.vocabSize - 1; // writes nothing
const prompts = pack([[3, 1, 4], [1]]);
const SAMPLES = 60;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.create(spec, { seed: 11, std: 0.15 }, { trainable: false });
  await engine.useVocabulary(vocabulary);
});
afterAll(() => engine.dispose());

const generate = (sampling: Partial<SamplingParams>, on = engine) =>
  on.generate({
    prompts,
    samplesPerPrompt: SAMPLES,
    sampling: { maxTokens: 60, stopTokenIds: [], ...sampling },
    seed: 4,
  });
const rowsOf = ({ tokens, cuSeqlens }: GenerateResult) => unpack(tokens, cuSeqlens);

/** Where the first stop string to be complete ends: number of tokens and the string; of those that end together the longest. */
function firstStop(tokens: Int32Array, stops: readonly string[]): readonly [number, string] | null {
  for (let n = 1; n <= tokens.length; n++) {
    const bytes = Buffer.from(written(vocabulary, tokens.subarray(0, n))).toString("latin1");
    const found = stops
      .map((stop) => ({ stop, raw: Buffer.from(stop).toString("latin1") }))
      .filter(({ raw }) => bytes.includes(raw))
      .sort(
        (a, b) =>
          bytes.indexOf(a.raw) + a.raw.length - bytes.indexOf(b.raw) - b.raw.length || b.raw.length - a.raw.length,
      );
    if (found.length > 0) return [n, found[0]!.stop];
  }
  return null;
}

describe("stop strings", () => {
  test.each([
    [["a"]],
    [["é", "😀"]],
    [["ab", "b", "1 0", "cab"]],
    [["aa", "0é", "zz", " 1", "q.", "é1c"]],
    [["not to be found"]],
  ])("%j end a sample where they are complete, and ids stay as they are", async (stopStrings) => {
    const free = await generate({});
    const result = await generate({ stopStrings });
    let across = 0;
    rowsOf(free).forEach((row, s) => {
      const stop = firstStop(row, stopStrings);
      const kept = stop === null ? row : row.subarray(0, stop[0]);
      const mine = rowsOf(result)[s]!;
      expect(mine).toEqual(kept);
      expect([result.finish[s], result.stopStrings[s]]).toEqual(stop ? ["stop", stop[1]] : ["length", null]);
      const bits = (of: GenerateResult) => bitsOf(unpack(of.logprobs, of.cuSeqlens)[s]!.slice(0, mine.length));
      expect(bits(result)).toBe(bits(free));
      const last = stop && textOf(vocabulary, row.subarray(stop[0] - 1, stop[0]));
      if (stop && !last!.includes(stop[1])) across++;
    });
    if (stopStrings.length > 2) expect(across).toBeGreaterThan(0);
  });

  test("an end token ends a sample before a stop string does, and is not named one", async () => {
    const result = await generate({ stopStrings: ["a"], stopTokenIds: [0] }); // token 0 writes "a"
    const ended = rowsOf(result).map((row, s) => [row.at(-1), result.finish[s], result.stopStrings[s]] as const);
    expect(ended.filter(([token]) => token === 0).length).toBeGreaterThan(3);
    for (const [token, finish, stop] of ended) if (token === 0) expect([finish, stop]).toEqual(["stop", null]);
  });
});

describe("constraints", () => {
  const constraints: readonly (readonly [string, Constraint, RegExp])[] = [
    ["a choice", { kind: "choice", choices: ["1", "2", "tie"] }, /^(1|2|tie)$/],
    ["choices that begin alike", { kind: "choice", choices: ["a", "ab", "abc", "b01"] }, /^(a|ab|abc|b01)$/],
    ["characters of several bytes", { kind: "regex", pattern: "[é😀]{3}" }, /^[é😀]{3}$/u],
    ["a number", { kind: "regex", pattern: "-?[0-9]{1,4}(\\.[0-9]{2})?" }, /^-?[0-9]{1,4}(\.[0-9]{2})?$/],
    ["any text, then a digit", { kind: "regex", pattern: "[^0-9]*[0-9]" }, /^[^0-9]*[0-9]$/u],
    ["words", { kind: "regex", pattern: "([a-c]+[ ,]){2,5}é?\\." }, /^([a-c]+[ ,]){2,5}é?\.$/u],
  ];

  test.each(constraints)(
    "%s: samples match, and end with an end token where they may",
    async (_, constraint, regex) => {
      const result = await generate({ constraint, stopTokenIds: [END], maxTokens: 120 });
      rowsOf(result).forEach((row, s) => {
        if (result.finish[s] === "length") {
          expect(row.length).toBe(120);
          return;
        }
        expect(row.at(-1)).toBe(END);
        expect(textOf(vocabulary, row.subarray(0, -1))).toMatch(regex);
        expect([result.finish[s], row.includes(spec.vocabSize - 2)]).toEqual(["stop", false]);
      });
      expect(result.finish.filter((reason) => reason === "stop").length).toBeGreaterThan(SAMPLES);
    },
  );

  test.each(constraints)(
    "%s: without an end token, a sample ends where nothing may follow",
    async (_, constraint, regex) => {
      const result = await generate({ constraint, maxTokens: 40 });
      rowsOf(result).forEach((row, s) => {
        if (result.finish[s] === "stop") expect(textOf(vocabulary, row)).toMatch(regex);
        else expect(row.length).toBe(40);
      });
    },
  );

  test.each(constraints)("%s: greedy too", async (_, constraint, regex) => {
    const result = await generate({ constraint, temperature: 0, stopTokenIds: [END], maxTokens: 100 });
    const [row] = rowsOf(result);
    if (result.finish[0] === "stop") expect(textOf(vocabulary, row!.subarray(0, -1))).toMatch(regex);
    else expect(row!.length).toBe(100);
  });

  /** Tokens that may come next, by trying the whole of every short continuation. */
  function allowedFirst(choices: readonly string[]): number[] {
    const bytesOf = (token: number) => Buffer.from(written(vocabulary, [token])).toString("latin1");
    const raw = choices.map((choice) => Buffer.from(choice).toString("latin1"));
    return Array.from({ length: spec.vocabSize }, (_, token) => token).filter(
      (token) => bytesOf(token) !== "" && raw.some((choice) => choice.startsWith(bytesOf(token))),
    );
  }

  test("the first token has the policy's probabilities over those that may come", async () => {
    const choices = ["abc", "b01 é", "a", "0", "c1é", "é", "z"];
    const allowed = allowedFirst(choices);
    expect(allowed.length).toBeGreaterThan(3);
    const request = { prompts: pack([[3, 1, 4]]), sampling: { maxTokens: 1, stopTokenIds: [END] } };
    const constraint: Constraint = { kind: "choice", choices };
    const { topIds, topLogprobs } = await engine.logprobs({ ...request.prompts, top: spec.vocabSize });
    const row = new Map<number, number>();
    for (let k = 2 * spec.vocabSize; k < 3 * spec.vocabSize; k++) row.set(topIds[k]!, topLogprobs[k]!);
    const mass = allowed.reduce((sum, token) => sum + Math.exp(row.get(token)!), 0);
    const draws = 5000;
    const result = await engine.generate({
      ...request,
      samplesPerPrompt: draws,
      sampling: { ...request.sampling, constraint },
    });
    let statistic = 0;
    for (const token of allowed) {
      const expected = (Math.exp(row.get(token)!) / mass) * draws;
      statistic += (result.tokens.filter((drawn) => drawn === token).length - expected) ** 2 / expected;
    }
    expect(result.tokens.every((token) => allowed.includes(token))).toBe(true);
    const freedom = allowed.length - 1;
    expect((statistic - freedom) / Math.sqrt(2 * freedom)).toBeLessThan(5);
    result.tokens.forEach((token, s) => {
      expect(Math.abs(result.logprobs[s]! - row.get(token)!)).toBeLessThan(1e-5);
      expect(Math.abs(result.samplerLogprobs[s]! - row.get(token)! + Math.log(mass))).toBeLessThan(1e-5);
    });
  });

  describe("a vocabulary that cannot write every byte", () => {
    let narrow: Engine;
    // "do" then "g" is written; "cat" cannot be, since there is no "t" and no "at".
    const tokens = ["do", "g", "ca", "d", "end", ...Array.from({ length: spec.vocabSize - 6 }, () => ""), ""];
    const small: TokenBytes = tokenBytes(tokens);
    beforeAll(async () => {
      narrow = await Engine.create(spec, { seed: 11, std: 0.15 }, { trainable: false });
      await narrow.useVocabulary(small);
    });
    afterAll(() => narrow.dispose());

    test("a tokenizer's tokens beyond the model's are left out", async () => {
      await using other = await Engine.create(spec, { seed: 11, std: 0.15 }, { trainable: false });
      await other.useVocabulary(tokenBytes([...tokens, "", "cat", "dog"]));
      const constraint: Constraint = { kind: "choice", choices: ["dog", "cat", "dodo"] };
      const sampling = { constraint, stopTokenIds: [END] };
      expect(await generate(sampling, other)).toEqual(await generate(sampling, narrow));
      await expect(generate({ constraint: { kind: "choice", choices: ["cat"] } }, other)).rejects.toMatchObject({
        code: "CONSTRAINT_UNSATISFIABLE",
      });
    });

    test("no sample walks into a dead end", async () => {
      const constraint: Constraint = { kind: "choice", choices: ["dog", "cat", "dodo"] };
      const result = await generate({ constraint, stopTokenIds: [END] }, narrow);
      const texts = new Set(rowsOf(result).map((row) => textOf(small, row)));
      expect(texts).toEqual(new Set(["dog", "dodo"]));
      const banned = await generate({ constraint, stopTokenIds: [END], bannedTokenIds: [1] }, narrow);
      expect(new Set(rowsOf(banned).map((row) => textOf(small, row)))).toEqual(new Set(["dodo"]));
    });

    test.each([
      [{ kind: "choice", choices: ["cat"] }, []],
      [{ kind: "choice", choices: ["dog"] }, [1]],
      [{ kind: "choice", choices: [""] }, []],
    ] as const)("%j cannot be met with %j banned", async (constraint, bannedTokenIds) => {
      await expect(generate({ constraint, bannedTokenIds }, narrow)).rejects.toMatchObject({
        name: "InputError",
        code: "CONSTRAINT_UNSATISFIABLE",
      });
    });

    test("an end token that is banned ends nothing, so the sample ends by itself", async () => {
      const sampling = { stopTokenIds: [END], bannedTokenIds: [END] };
      const result = await generate({ constraint: { kind: "choice", choices: ["dog"] }, ...sampling }, narrow);
      expect(new Set(rowsOf(result).map((row) => row.join()))).toEqual(new Set(["0,1"]));
      expect(new Set(result.finish)).toEqual(new Set(["stop"]));
    });
  });
});

describe("an engine that does not know its vocabulary", () => {
  test.each<[Partial<SamplingParams>, string]>([
    [{ stopStrings: ["a"] }, "[generate stopStrings]"],
    [{ constraint: { kind: "choice", choices: ["a"] } }, "[generate constraint]"],
  ])("%j", async (sampling, where) => {
    await using other = await Engine.create(spec, { seed: 1 }, { trainable: false });
    await expect(generate(sampling, other)).rejects.toMatchObject({
      name: "InputError",
      code: "NO_VOCABULARY",
      message: expect.stringContaining(`${where} expected an engine that knows its vocabulary's bytes`),
    });
  });

  test.each([
    [{ bytes: [1], offsets: Int32Array.of(0, 1) }, "[useVocabulary bytes] expected a Uint8Array"],
    [{ bytes: Uint8Array.of(1), offsets: [0, 1] }, "[useVocabulary offsets] expected an Int32Array"],
    [{ bytes: Uint8Array.of(1), offsets: Int32Array.of(0, 2) }, "expected ascending offsets from 0 to 1"],
    [{ bytes: Uint8Array.of(1, 2), offsets: Int32Array.of(0, 2, 1, 2) }, "expected ascending offsets from 0 to 2"],
    [{ bytes: new Uint8Array(0), offsets: Int32Array.of(0) }, "expected those of at least 1 token, got 0"],
  ])("%j", async (bytes, message) => {
    await expect(engine.useVocabulary(bytes as never)).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: expect.stringContaining(message),
    });
  });
});

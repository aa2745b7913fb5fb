// Tokens as they are drawn: the same as at once, whoever reads slowly, and nothing is left behind when the reader goes.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { GenerateChunk, GenerateRequest, GenerateResult } from "../../src/engine/types.js";
import { pack, randomSequences, runScript, smallSpec, unpack } from "../helpers/engine.js";
import { toyVocabulary } from "../helpers/vocabulary.js";

const spec = { ...smallSpec, vocabSize: 79 };
const request: GenerateRequest = {
  prompts: pack(randomSequences([1, 9, 64, 30], spec.vocabSize)),
  samplesPerPrompt: 4,
  sampling: { maxTokens: 90, stopTokenIds: [5, 6], stopStrings: ["ab", "é"] },
  seed: 2,
};
/** More tokens than the queue holds. */
const long: GenerateRequest = { ...request, samplesPerPrompt: 64, sampling: { maxTokens: 90, stopTokenIds: [] } };

let engine: Engine;
let blockBytes: number;
beforeAll(async () => {
  engine = await Engine.create(spec, { seed: 11, std: 0.15 }, { trainable: false });
  await engine.useVocabulary(toyVocabulary(spec.vocabSize));
  ({ blockBytes } = (await engine.generate(request)).stats);
});
afterAll(() => engine.dispose());

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Chunks put together again, as a result has them. */
function join(chunks: readonly GenerateChunk[], samples: number) {
  const of = (s: number) => chunks.filter(({ sample }) => sample === s);
  const all = Array.from({ length: samples }, (_, s) => of(s));
  const flat = (array: "tokens" | "logprobs" | "samplerLogprobs") => all.flat().flatMap((chunk) => [...chunk[array]]);
  return {
    tokens: flat("tokens"),
    logprobs: flat("logprobs"),
    samplerLogprobs: flat("samplerLogprobs"),
    finish: all.map((mine) => mine.at(-1)?.finish),
    stopStrings: all.map((mine) => mine.at(-1)?.stopString),
    early: all.some((mine) => mine.slice(0, -1).some(({ finish }) => finish !== null)),
  };
}

const parts = (result: GenerateResult) => ({
  tokens: [...result.tokens],
  logprobs: [...result.logprobs],
  samplerLogprobs: [...result.samplerLogprobs],
  finish: result.finish,
  stopStrings: result.stopStrings,
  early: false,
});

async function collect(stream: AsyncGenerator<GenerateChunk, GenerateResult>, waitMs = 0) {
  const chunks: GenerateChunk[] = [];
  for (;;) {
    const next = await stream.next();
    if (next.done) return { chunks, result: next.value };
    chunks.push(next.value);
    if (waitMs > 0) await pause(waitMs);
  }
}

test.each([0, 3])("chunks are the samples of the whole, read with pauses of %d ms", async (waitMs) => {
  const whole = await engine.generate(request);
  const { chunks, result } = await collect(engine.generateStream(request), waitMs);
  expect(join(chunks, 16)).toEqual(parts(whole));
  expect(result).toEqual(whole);
});

test("samples that are computed again are not told again", async () => {
  await using cramped = await Engine.create(
    spec,
    { seed: 11, std: 0.15 },
    { trainable: false, kvBytes: 4 * blockBytes },
  );
  const whole = await engine.generate(long);
  const { chunks, result } = await collect(cramped.generateStream(long));
  expect(join(chunks, 256)).toEqual(parts(whole));
  expect(result.stats.peakBlocks).toBeLessThanOrEqual(4);
});

test("a reader that waits holds up the sampling", async () => {
  let drawn = 0;
  const stream = engine.generateStream({ ...long, onProgress: ({ tokens }) => (drawn = tokens) });
  await stream.next();
  await pause(300);
  const held = drawn;
  await pause(100);
  expect(drawn).toBe(held);
  const { result } = await collect(stream);
  expect(held).toBeLessThan(result.tokens.length / 2);
  expect(result.tokens.length).toBe(256 * 90);
});

describe("a reader that goes", () => {
  test("by break: the call ends, and the next one runs", async () => {
    for (let i = 0; i < 5; i++) {
      for await (const { tokens } of engine.generateStream(long)) {
        expect(tokens.length).toBeGreaterThan(0);
        break;
      }
      expect((await engine.generate({ ...request, sampling: { maxTokens: 2 } })).tokens.length).toBe(32);
    }
  });

  test("by throwing: its error arrives", async () => {
    const reading = async () => {
      for await (const _ of engine.generateStream(long)) throw new Error("mine");
    };
    await expect(reading()).rejects.toThrow("mine");
    expect((await engine.generate(request)).finish).not.toContain("abort");
  });

  test("before it began, nothing began", async () => {
    await engine.generateStream(long).return(undefined as never);
    expect((await engine.generate(request)).finish.length).toBe(16);
  });
});

test("an abort ends every sample, those that never ran among them", async () => {
  const whole = await engine.generate(long);
  const rows = unpack(whole.tokens, whole.cuSeqlens).map(String);
  const controller = new AbortController();
  const chunks: GenerateChunk[] = [];
  for await (const chunk of engine.generateStream({ ...long, signal: controller.signal })) {
    chunks.push(chunk);
    if (chunks.length === 300) controller.abort();
  }
  const { finish, tokens } = join(chunks, 256);
  expect(finish.every((reason) => reason === "abort" || reason === "length")).toBe(true);
  expect(finish).toContain("abort");
  expect(tokens.length).toBeLessThan(whole.tokens.length);
  const first = chunks.filter(({ sample }) => sample === 0).flatMap((chunk) => [...chunk.tokens]);
  expect(rows[0]!.startsWith(String(first))).toBe(true);
  const before = await collect(engine.generateStream({ ...long, signal: AbortSignal.abort() }));
  expect(before.chunks.map(({ finish, tokens }) => [finish, tokens.length])).toEqual(Array(256).fill(["abort", 0]));
});

test("a second call while one streams is refused, and disposing ends it", async () => {
  const other = await Engine.create(spec, { seed: 1 }, { trainable: false });
  const stream = other.generateStream({ ...long, sampling: { maxTokens: 90, stopTokenIds: [] } });
  await stream.next();
  await expect(other.generate(request))
    .rejects.toMatchObject({ code: "NO_VOCABULARY" })
    .catch(() => undefined);
  await expect(other.logprobs(pack([[1, 2]]))).rejects.toMatchObject({ code: "ENGINE_BUSY" });
  await other.dispose();
  const { result } = await collect(stream);
  expect(result.finish).toContain("abort");
});

test("bad input and a callback that throws reject the first read", async () => {
  const bad = engine.generateStream({ ...request, sampling: { maxTokens: 0 } });
  await expect(bad.next()).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  const mine = new Error("mine");
  const onProgress = () => {
    throw mine;
  };
  await expect(collect(engine.generateStream({ ...long, onProgress }))).rejects.toBe(mine);
});

test("a process whose reader is full and gone ends when it is told to", async () => {
  const printed = await runScript(`
    const { Engine } = await import(dist + "engine/engine.js");
    const spec = ${JSON.stringify(spec)};
    const engine = await Engine.create(spec, { seed: 1 }, { trainable: false });
    const prompts = { ids: Int32Array.of(1, 2), cuSeqlens: Int32Array.of(0, 1, 2) };
    const request = { prompts, samplesPerPrompt: 200, sampling: { maxTokens: 100, stopTokenIds: [] } };
    const stream = engine.generateStream(request);
    await stream.next();
    setTimeout(() => { console.log("end"); process.exit(0); }, 200);
  `);
  expect(printed).toBe("end");
});

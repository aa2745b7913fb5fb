// Tokens in, tokens out: what is trained on are the ids that were sampled, with their log-probs, though the tokenizer would cut their text
// into others; a stop string cuts the text, not the ids. On the engine, with a tokenizer whose texts have several spellings.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import type { EngineLike, EngineSource } from "../../src/engine/like.js";
import type { EngineOptions, GenerateResult, TrainBatch } from "../../src/engine/types.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { packGroups } from "../../src/rollout/batch.js";
import { makeGroups } from "../../src/rollout/group.js";
import { sampleCompletions } from "../../src/rollout/sample.js";
import { policyLoss } from "../../src/train/policy.js";
import { bitsOf, oddInit, smallSpec, unpack } from "../helpers/engine.js";
import { jsonl, tempFolder } from "../helpers/recipes.js";
import { readLines, testHost } from "../helpers/run-host.js";

const TOKENS = ["</s>", "a", "b", "ab", "ba", "abab", "aba", "bb"];
const END = 0;
const spec = { ...smallSpec, vocabSize: TOKENS.length, eosTokenIds: [END] };

/** The template is the question; "abab" may be one token, or up to four. */
function tokenizerFiles(): Readonly<Record<string, string>> {
  const added = { id: END, content: "</s>", single_word: false, lstrip: false, rstrip: false, normalized: false };
  const file = {
    version: "1.0",
    added_tokens: [{ ...added, special: true }],
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(TOKENS.map((token, id) => [token, id])),
      merges: ["a b", "b a", "ab ab", "ab a", "b b"],
    },
  };
  const config = { eos_token: "</s>", chat_template: "{{ messages[0].content }}" };
  return { "tokenizer.json": JSON.stringify(file), "tokenizer_config.json": JSON.stringify(config) };
}

let folder: string;
beforeAll(async () => {
  folder = join(tempFolder(), "model");
  mkdirSync(folder);
  for (const [name, text] of Object.entries(tokenizerFiles())) writeFileSync(join(folder, name), text);
  await using engine = await Engine.create(spec, oddInit, { trainable: false });
  await engine.save(folder);
});

/** Engines that keep what they sampled and what they were trained on. */
class Watched implements EngineSource {
  readonly sampled: GenerateResult[] = [];
  readonly trained: TrainBatch[] = [];

  create(): Promise<EngineLike> {
    throw new Error("expected a model folder");
  }

  async load(path: string, options?: EngineOptions): Promise<EngineLike> {
    const engine = await Engine.load(path, options);
    const { generate, forwardBackward } = engine;
    engine.generate = async (request) => {
      const result = await generate.call(engine, request);
      this.sampled.push(result);
      return result;
    };
    engine.forwardBackward = (batch, loss) => {
      this.trained.push(batch);
      return forwardBackward.call(engine, batch, loss);
    };
    return engine;
  }
}

/** Of each sequence what has a weight: its ids, and the bits of the log-probs that go with them. */
function trainedOn({ ids, cuSeqlens, weights, oldLogprobs }: TrainBatch): string[] {
  const kept = unpack(weights, cuSeqlens).map((row) => row.findIndex((weight) => weight !== 0));
  const logprobs = unpack(oldLogprobs as Float32Array, cuSeqlens);
  return unpack(ids as Int32Array, cuSeqlens).map(
    (row, s) => `${row.slice(kept[s]).join(" ")}: ${bitsOf(logprobs[s]!.slice(kept[s]))}`,
  );
}

const drawn = ({ tokens, cuSeqlens, logprobs }: GenerateResult): string[] => {
  const bits = unpack(logprobs, cuSeqlens).map(bitsOf);
  return unpack(tokens, cuSeqlens).map((row, s) => `${row.join(" ")}: ${bits[s]}`);
};

describe("a run of GRPO", () => {
  const run = async (sampling: Settings = {}) => {
    const engines = new Watched();
    const recipe = makeRlvr(engines);
    const host = testHost();
    const config = resolveSettings("rlvr", recipe.schema, {
      model: folder,
      data: jsonl({ prompt: "ab", answer: "a" }, { prompt: "bba", answer: "b" }),
      format: "warm-plain",
      rewards: [{ kind: "format", thinking: "", pattern: "^(a|bb)" }],
      rewardWorkers: 1,
      grpo: {
        steps: 3,
        prompts: 2,
        samplesPerPrompt: 6,
        sampling: { maxTokens: 9, ...sampling },
        loss: { entropyCoefficient: 0.01 }, // so that every group is trained on
      },
    });
    await recipe.run(config, host);
    const rollouts = readLines(host.out, "rollouts.jsonl").map(({ answer }) => answer as string);
    return { engines, lines: readLines(host.out, "metrics.jsonl"), rollouts };
  };

  test("trains on the ids and log-probs that were sampled, the end token among them", async () => {
    const { engines, lines } = await run();
    expect(engines.trained).toHaveLength(3);
    expect(engines.trained.map(trainedOn)).toEqual(engines.sampled.map(drawn));
    const ends = engines.sampled.flatMap(({ finish }) => finish);
    expect([ends.includes("stop"), ends.includes("length")]).toEqual([true, true]);
    for (const line of lines) expect(line["mismatch/max_abs"]).toBe(0);
  });

  test("trains on the ids of a stop string too, whose text nobody sees", async () => {
    const { engines, lines, rollouts } = await run({ stopStrings: ["bb", "aba"] });
    expect(engines.trained.map(trainedOn)).toEqual(engines.sampled.map(drawn));
    expect(engines.sampled.flatMap(({ stopStrings }) => stopStrings).filter(Boolean).length).toBeGreaterThan(9);
    for (const text of rollouts) expect(text).not.toMatch(/bb|aba/);
    for (const line of lines) expect(line["mismatch/max_abs"]).toBe(0);
  });

  test("whose texts the tokenizer would often cut in another way", async () => {
    const { engines } = await run();
    using tokenizer = await Tokenizer.load(folder);
    const rows = engines.sampled.flatMap(({ tokens, cuSeqlens }) => unpack(tokens, cuSeqlens));
    const others = rows.filter((row) => {
      const again = tokenizer.encode(tokenizer.decode(row), { addSpecialTokens: false });
      return String(again) !== String([...row]);
    });
    expect(others.length).toBeGreaterThan(rows.length / 4);
  });
});

test("ids and log-probs are whole where a stop string ends the text inside of a token", async () => {
  await using engine = await Engine.load(folder);
  using tokenizer = await Tokenizer.load(folder);
  await engine.useVocabulary(tokenizer.tokenBytes());
  const prompts = [Int32Array.of(3), Int32Array.of(7, 1)];
  const sampling = { maxTokens: 12, stopStrings: ["bb", "aba"] };
  const request = { prompts, samplesPerPrompt: 8, sampling, seed: 3, step: 1 };
  const { samples } = await sampleCompletions(engine, request);
  const free = await sampleCompletions(engine, { ...request, sampling: { maxTokens: 12 } });
  let inside = 0;
  samples.flat().forEach((sample, s) => {
    const whole = free.samples.flat()[s]!;
    const n = sample.completion.length;
    expect(sample.completion).toEqual(whole.completion.slice(0, n));
    expect(bitsOf(sample.logprobs.slice())).toBe(bitsOf(whole.logprobs.slice(0, n)));
    if (!sample.stopString) return;
    const text = tokenizer.decode(sample.completion);
    expect(text).toContain(sample.stopString);
    if (!text.endsWith(sample.stopString)) inside++;
  });
  expect(inside).toBeGreaterThan(0);
  const rewards = samples.map((group) => Float64Array.from(group, (_, i) => i));
  const groups = makeGroups(prompts, samples, rewards);
  const batch = packGroups(groups, rewards);
  const metrics = await engine.forwardBackward(batch, policyLoss(1));
  expect(metrics.mismatchMaxAbs).toBe(0);
  expect(metrics.tokens).toBe(samples.flat().reduce((sum, { completion }) => sum + completion.length, 0));
});

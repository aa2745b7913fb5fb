// Real pretrained weights: the greedy story of both models, token by token, with the log-probs that transformers gives it.
// The models lie in the shared data folder; without it these tests are skipped.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { fixtures, hasStories, pack, setups, stories } from "../helpers/engine.js";

interface Story {
  readonly ids: readonly number[];
  readonly logprobs: readonly number[];
}

const expected = JSON.parse(readFileSync(join(fixtures, "stories.json"), "utf8")) as Record<string, Story>;
const BOS = 1;
/** Of log-probs, which transformers computed in another order. */
const TOLERANCE = 5e-5;

describe.skipIf(!hasStories).each(["stories260k", "stories1m"])("%s", (name) => {
  const { ids, logprobs } = expected[name] as Story;

  test.each(setups)("greedy from the begin token: $isa, threads: $threads", async (setup) => {
    await using engine = await Engine.load(join(stories, name), { ...setup, trainable: false });
    const sampling = { temperature: 0, maxTokens: ids.length - 1 };
    const result = await engine.generate({ prompts: pack([[BOS]]), sampling });
    expect([BOS, ...result.tokens]).toEqual(ids);
    expect(result.finish).toEqual(["length"]);
    expect(worst(result.logprobs, logprobs)).toBeLessThan(TOLERANCE);
    const scored = await engine.logprobs(pack([ids]));
    expect(scored.logprobs.slice(1)).toEqual(result.logprobs);
  });
});

test.skipIf(!hasStories)("the ids that an independent C implementation decoded", async () => {
  const page = readFileSync(join(stories, "README.md"), "utf8");
  const listed = /stories260k, ids: ([\d\s]+)/.exec(page)?.[1]?.trim().split(/\s+/).map(Number);
  expect(listed).toEqual(expected.stories260k?.ids);
});

function worst(actual: Float32Array, wanted: readonly number[]): number {
  expect(actual.length).toBe(wanted.length);
  return wanted.reduce((max, value, i) => Math.max(max, Math.abs(value - actual[i]!)), 0);
}

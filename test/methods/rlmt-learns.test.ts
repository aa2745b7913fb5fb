// RLMT raises the held-out reward of a language model by a reward model that is trained here: Bradley-Terry on pairs of stories that a rule
// orders. The rule itself is seen by no policy. The language model lies in the shared data folder; without it the test is skipped.
import { cpSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import type { Recipe } from "../../src/methods/recipe.js";
import { makeRewardModel } from "../../src/methods/reward-model.js";
import { makeRlmt } from "../../src/methods/rlmt.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { sampleCompletions } from "../../src/rollout/sample.js";
import { stories } from "../helpers/engine.js";
import { jsonl, summaryOf, tempFolder } from "../helpers/recipes.js";
import { testHost } from "../helpers/run-host.js";

const model = join(stories, "stories1m");
const hasModel = existsSync(join(model, "model.safetensors"));
const TOKENS = 64; // of an answer; the vocabulary is characters
const OPENING = "One day";
const TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";

const names = [
  "Lily",
  "Tom",
  "Sue",
  "Ben",
  "Mia",
  "Max",
  "Amy",
  "Sam",
  "Zoe",
  "Jim",
  "Ann",
  "Bob",
  "Eva",
  "Leo",
  "Ida",
  "Tim",
];
const places = [
  "lived in a big house",
  "had a red ball",
  "liked the park",
  "had a small dog",
  "went to the sea",
  "saw a tree",
];
const questions = (from: number, to: number) =>
  names.slice(from, to).flatMap((name) => places.map((place) => `${name} ${place}.`));
const training = questions(0, 10);
const heldOut = questions(10, 16);

/** What orders the pairs: how many sentences a story of so many characters ends. */
const sentences = (text: string): number => text.split(".").length - 1;

/** Stories of the language model about the training questions, a pair where the rule says which is better. */
async function preferences(): Promise<readonly object[]> {
  await using engine = await Engine.load(model, { trainable: false });
  using tokenizer = await Tokenizer.load(model);
  const prompts = training.map((question) => Int32Array.from(tokenizer.encode(`${question} ${OPENING}`)));
  const request = { prompts, samplesPerPrompt: 12, sampling: { maxTokens: TOKENS }, seed: 11, step: 1 };
  const { samples } = await sampleCompletions(engine, request);
  return samples.flatMap((group, p) => {
    const texts = group.map(({ completion }) => tokenizer.decode(completion, { skipSpecialTokens: true }));
    const sorted = texts.sort((a, b) => sentences(b) - sentences(a));
    return sorted.slice(0, 6).flatMap((chosen, i) => {
      const rejected = sorted.at(-1 - i)!;
      return sentences(chosen) > sentences(rejected) ? [{ prompt: training[p], chosen, rejected }] : [];
    });
  });
}

async function run<T>(recipe: Recipe<T>, settings: Settings) {
  const host = testHost();
  await recipe.run(resolveSettings(recipe.name, recipe.schema, settings), host);
  return { host, summary: summaryOf(host) };
}

describe.skipIf(!hasModel)("a reward model that is trained here", () => {
  let judge: string;
  beforeAll(async () => {
    const folder = join(tempFolder(), "stories");
    cpSync(model, folder, { recursive: true });
    writeFileSync(join(folder, "chat_template.jinja"), TEMPLATE);
    const pairs = await preferences();
    const held = pairs.filter((_, i) => i % 8 === 0);
    const learnt = pairs.filter((_, i) => i % 8 !== 0);
    const { summary } = await run(makeRewardModel(Engine), {
      ...{ model: folder, data: jsonl(...learnt), evaluation: { data: jsonl(...held) } },
      reward: { steps: 40, pairsPerStep: 16, optimizer: { learningRate: 5e-4, warmupSteps: 5 } },
    });
    expect(summary.heldOut.accuracy.interval[0]).toBeGreaterThan(0.7);
    judge = summary.model;
  }, 120_000);

  /** What follows the first of these words is the answer; where it is missing, the whole text is. */
  const MARK = " and ";
  const formats = {
    "no thinking": { answerOpen: "", completion: "{answer}" },
    thinking: { thoughtClose: MARK, answerOpen: MARK, completion: `{thought}${MARK}{answer}`, strict: false },
  };
  const arms = (["no thinking", "thinking"] as const).flatMap((arm) => [0, 1, 2].map((seed) => [arm, seed] as const));

  test.each(arms)("raises the held-out reward with %s, seed %i", { timeout: 120_000 }, async (arm, seed) => {
    const rows = (texts: readonly string[]) => jsonl(...texts.map((prompt) => ({ prompt })));
    const thinking = arm === "thinking";
    const { summary } = await run(makeRlmt(Engine), {
      ...{ seed, model, data: rows(training), reward: { model: judge }, thinking, start: "zero" },
      format: { template: "{query} {instruction}", instruction: OPENING, answerClose: "", ...formats[arm] },
      grpo: {
        ...{ steps: 6, prompts: 10, samplesPerPrompt: 8, sampling: { temperature: 1, maxTokens: TOKENS } },
        optimizer: { learningRate: 3e-4 },
      },
      evaluation: { data: rows(heldOut), problems: heldOut.length, every: 0 },
    });
    expect(summary.difference.interval[0]).toBeGreaterThan(0);
  });
});

// Logits are never there for all tokens: beyond a chunk of rows, more tokens take next to no more memory, in training, under a loss of whole
// sequences, in scoring and in sampling. Measured as the peak of a process of its own.
import { expect, test } from "vitest";
import { runScript, smallSpec } from "../helpers/engine.js";

/** The head is all there is: logits of a token take 512 KiB, so a chunk of 512 MiB is 1,024 rows. */
const spec = {
  ...smallSpec,
  vocabSize: 131_072,
  hiddenSize: 8,
  intermediateSize: 8,
  heads: 1,
  kvHeads: 1,
  headDim: 8,
  maxPositions: 2048,
  tieWordEmbeddings: true,
};
const MIB = 2 ** 20;
const CHUNK_MIB = 512;
const SHORT = 1_050; // tokens, more than a chunk
const LONG = 1_500;
/** Logits of the tokens that there are more of. */
const ADDED_MIB = ((LONG - SHORT) * spec.vocabSize * Float32Array.BYTES_PER_ELEMENT) / MIB;

test.each([
  ["training", ["sft", "sequences"]],
  ["scoring", ["logprobs"]],
  ["sampling", ["samples"]],
])("%s with half as many tokens again takes a quarter of their logits at most", async (_, verbs) => {
  const printed = await runScript(`
    const { readFileSync } = await import("node:fs");
    const { Engine } = await import(dist + "engine/engine.js");
    const peak = () => Number(/VmHWM:\\s+(\\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
    const engine = await Engine.create(${JSON.stringify(spec)}, { seed: 1 }, { threads: 2, microBatchTokens: ${LONG} });
    const clip = { clipLow: 0.2, clipHigh: 0.2, dualClip: 0, klCoefficient: 0, entropyCoefficient: 0 };
    const calls = {
      sft: (batch) => engine.forwardBackward(batch, { kind: "sft" }),
      sequences: (batch) => engine.forwardBackward(batch, { kind: "policy", ratio: "sequence", temperature: 1, ...clip }),
      logprobs: ({ ids, cuSeqlens }) => engine.logprobs({ ids, cuSeqlens }),
      samples: ({ ids }) => {
        const prompts = { ids: ids.subarray(0, 1), cuSeqlens: Int32Array.of(0, 1) };
        return engine.generate({ prompts, samplesPerPrompt: ids.length, sampling: { maxTokens: 1 } });
      },
    };
    const work = async (name, tokens) => {
      const ids = Int32Array.from({ length: tokens }, (_, t) => (t * 7919) % ${spec.vocabSize});
      const each = new Float32Array(tokens).fill(1 / tokens, 1);
      await calls[name]({ ids, cuSeqlens: Int32Array.of(0, tokens), weights: each, advantages: each, oldLogprobs: each });
      return peak();
    };
    const verbs = ${JSON.stringify(verbs)};
    const short = await work(verbs[0], ${SHORT});
    const long = [];
    for (const verb of verbs) long.push(await work(verb, ${LONG}));
    await engine.dispose();
    console.log(JSON.stringify({ short, long }));
  `);
  const { short, long } = JSON.parse(printed) as { short: number; long: number[] };
  expect(short).toBeGreaterThan(CHUNK_MIB); // so the chunk is full
  for (const peak of long) expect(peak - short).toBeLessThan(0.25 * ADDED_MIB);
});

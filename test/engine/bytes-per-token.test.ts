// Bytes that a training step takes for each token, by the engine's own account of its allocations: steps of two lengths say what a token
// costs, models of two depths what it costs in a layer. The bounds are the arrays that a layer must keep, counted from the shape.
import { describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { EngineOptions, ModelSpec } from "../../src/engine/types.js";
import { oddInit, oddSpec, pack, policyAt, randomSequences } from "../helpers/engine.js";

const LENGTHS = [512, 1024] as const;
const LAYERS = [2, 5] as const;
const RANK = 3;
const LINEARS = 7; // of a block: q, k, v, o, gate, up, down
/** Blocks and aligned arrays are rounded: bytes of a token, far below one array. */
const ROUNDED = 2;

/** The most that one training step of a sequence holds at once. */
async function peak(layers: number, length: number, options: EngineOptions): Promise<number> {
  const spec = { ...oddSpec, layers, maxPositions: Math.max(...LENGTHS) };
  await using engine = await Engine.create(spec, oddInit, { ...options, threads: 1 });
  const weights = Float32Array.from({ length }, (_, t) => (t === 0 ? 0 : 0.01));
  const tokens = pack(randomSequences([length], spec.vocabSize, 3));
  await engine.forwardBackward({ ...tokens, weights, advantages: weights, oldLogprobs: weights }, policyAt(1));
  return engine.memory().peakBytes;
}

/** Bytes a token: in each layer, and once. */
async function measured(options: EngineOptions): Promise<{ layer: number; once: number }> {
  const [few, many] = await Promise.all(
    LAYERS.map(async (layers) => {
      const [short, long] = [await peak(layers, LENGTHS[0], options), await peak(layers, LENGTHS[1], options)];
      return (long - short) / (LENGTHS[1] - LENGTHS[0]);
    }),
  );
  const layer = (many! - few!) / (LAYERS[1] - LAYERS[0]);
  return { layer, once: few! - LAYERS[0] * layer };
}

/** Bytes that a layer keeps of a token for its backward pass, elements of the model's type having `size` bytes. */
function kept({ hiddenSize: H, intermediateSize: I, heads, kvHeads, headDim }: ModelSpec, size: number): number {
  const [query, key] = [heads * headDim, kvHeads * headDim];
  const residual = 2 * H + 2 + heads; // before attention and before the MLP, their two norms' rstd, attention's lse: always f32
  const typed = 2 * H + 2 * query + 3 * I + 2 * key; // two normed inputs, q, attention, gate, up and their product, keys and values
  return 4 * residual + size * typed;
}

/** The same where all but a layer's input, attention and lse is computed again. */
const recomputed = ({ hiddenSize: H, heads, headDim }: ModelSpec, size: number): number =>
  4 * (H + heads) + size * heads * headDim;

const lora = { rank: RANK, alpha: 6, targets: "all-linear" } as const;
const f32Layer = kept(oddSpec, 4);

describe("bytes of a token in a training step", () => {
  test.each<[string, EngineOptions, number, number]>([
    ["float32", {}, f32Layer, 3],
    ["bfloat16", { dtype: "bfloat16" }, kept(oddSpec, 2), 3],
    ["adapters", { lora }, f32Layer + 4 * RANK * LINEARS, 3],
    ["recomputed", { recompute: true }, recomputed(oddSpec, 4), 4],
    ["bfloat16, recomputed", { dtype: "bfloat16", recompute: true }, recomputed(oddSpec, 2), 4],
  ])("%s: in a layer what it keeps, and once no more than a few layers", async (_, options, bound, layersOnce) => {
    const { layer, once } = await measured(options);
    expect(layer).toBeLessThanOrEqual(bound + ROUNDED);
    expect(layer).toBeGreaterThan(bound - ROUNDED); // else the count of the arrays is wrong
    expect(once).toBeLessThan(layersOnce * f32Layer);
  });
});

// The batch that a run stopped on, as a file for its user: cut down to the sequences that did it, and bounded. Leaves out when to stop.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sequencesTogether } from "../engine/pairs.js";
import type { LossSpec, TrainBatch } from "../engine/types.js";

/** Tokens of bad-batch.json at most; the first sequence is whole whatever its length. */
export const MOST_SAVED_TOKENS = 16_384;

export interface BadBatch {
  readonly where: string;
  readonly batch: TrainBatch;
  readonly loss: LossSpec;
  /** Whether some of the sequences, as a batch of their own, have the fault too. */
  hasFault(part: TrainBatch): Promise<boolean>;
}

/**
 * Writes `bad-batch.json` into a run folder: where, loss, which sequences of how many, and their arrays, with numbers that are not finite
 * as text. Looks for the fault in halves of halves, which costs about two passes over the batch; where only sequences together have it,
 * those that fit are written. Returns the path.
 */
export async function saveBadBatch(folder: string, { where, batch, loss, hasFault }: BadBatch): Promise<string> {
  const together = sequencesTogether(loss.kind);
  const [first, end] = bounded(batch, await narrow(batch, together, hasFault), together);
  const arrays = slice(batch, first, end);
  const sequences = { first, end, of: sequencesOf(batch) };
  const path = join(folder, "bad-batch.json");
  writeFileSync(path, `${JSON.stringify({ where, loss, sequences, ...arrays }, plain)}\n`);
  return path;
}

type Range = readonly [first: number, end: number]; // of sequences

const sequencesOf = (batch: TrainBatch): number => batch.cuSeqlens.length - 1;

/** The fewest neighbouring sequences, by halving, that have the fault by themselves; those that are `together` stay so. */
async function narrow(batch: TrainBatch, together: number, hasFault: BadBatch["hasFault"]): Promise<Range> {
  let [first, end] = [0, sequencesOf(batch)];
  while (end - first > together) {
    const middle = first + Math.floor((end - first) / together / 2) * together;
    if (await hasFault(slice(batch, first, middle))) end = middle;
    else if (await hasFault(slice(batch, middle, end))) first = middle;
    else break;
  }
  return [first, end];
}

/** As many of the sequences as may be written, at least those that are together. */
function bounded({ cuSeqlens }: TrainBatch, [first, end]: Range, together: number): Range {
  let last = first + together;
  while (last < end && cuSeqlens[last + together]! - cuSeqlens[first]! <= MOST_SAVED_TOKENS) last += together;
  return [first, last];
}

/** Sequences [first, end) as a batch. */
function slice({ signal: _, ...batch }: TrainBatch, first: number, end: number): TrainBatch {
  const { cuSeqlens, ids, weights, pairWeights, margins, ...others } = batch;
  const [from, to] = [cuSeqlens[first]!, cuSeqlens[end]!];
  const cut = Object.entries(others).flatMap(([name, values]) =>
    values === undefined ? [] : [[name, values.slice(from, to)] as const],
  );
  return {
    cuSeqlens: cuSeqlens.slice(first, end + 1).map((at) => at - from),
    ids: ids.slice(from, to),
    weights: weights.slice(from, to),
    ...Object.fromEntries(cut),
    ...(pairWeights && { pairWeights: pairWeights.slice(first / 2, end / 2) }),
    ...(margins && { margins: margins.slice(first / 2, end / 2) }),
  };
}

function plain(_key: string, value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array);
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

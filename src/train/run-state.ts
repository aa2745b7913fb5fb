// state.json of a checkpoint: where the run stands, apart from weights and moments. Read with as little trust as any file.
import { z } from "zod";
import { isTooDeep, SHALLOW } from "../config/depth.js";
import type { Json } from "../data/resumable.js";

const count = z.int().min(0);
const json = z.json() as z.ZodType<Json>;
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** A path below the checkpoint, with no way out of it. */
const below = z.string().regex(/^(?!\.)[\w.-]+(\/(?!\.)[\w.-]+)*$/);

const sourceMark = z.strictObject({
  source: z.string(),
  rows: count,
  /** Of those that count, in their order. */
  sha256,
  /** Of a source of the hub. */
  commit: z
    .string()
    .regex(/^[0-9a-f]{40}$/)
    .optional(),
});
export type SourceMark = z.output<typeof sourceMark>;

const schema = z.strictObject({
  version: z.literal(1),
  recipe: z.string(),
  config: z.record(z.string(), json),
  /** The part in hand, and its steps that are done. */
  part: z.string(),
  step: count,
  /** Training steps of all parts so far: what the checkpoint is named by. */
  trained: count,
  /** Seconds of the part and of the whole run, over all processes that worked on it. */
  seconds: z.number().min(0),
  elapsed: z.number().min(0),
  /** What finished parts came to. */
  results: z.record(z.string(), json),
  /** What moves from step to step in the part in hand. */
  loop: json,
  /** The checkpoint with the best held-out figure so far, by its `trained`. */
  best: count.nullable(),
  /** Bytes of the jsonl files. */
  sizes: z.record(z.string().regex(/^[\w-]+\.jsonl$/), count),
  fingerprint: z.record(z.string(), z.string()),
  /** What the run has read of each source; older checkpoints do not say. */
  data: z.array(sourceMark).optional(),
  /** Every other file of the checkpoint. */
  sha256: z.record(below, sha256),
});

export type RunState = z.output<typeof schema>;

/** The state in a text, or what is wrong with it. */
export function parseState(text: string): RunState | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return (error as Error).message;
  }
  if (isTooDeep(value)) return `expected ${SHALLOW}`;
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return `${issue?.path.join(".")}: ${issue?.message}`;
}

// Pairs as lines of pairs.jsonl: the ids that are trained on, so that a run that goes on has them again, and a user can look.
import { closeSync, openSync, readSync } from "node:fs";
import { z } from "zod";
import type { Answer, Pair } from "../rollout/pairs.js";
import { TrainError } from "./guard.js";

const chunkBytes = 1 << 20;

const ids = z.array(z.int().min(0)).min(1);
const side = z.object({ completion: ids, mask: z.array(z.int().min(0).max(1)).optional(), reward: z.number() });
const line = z.object({ round: z.int().min(1), prompt: ids, chosen: side, rejected: side });

/** A line of the file. The mask is left out where the policy chose every token. */
export function pairRecord(round: number, problem: number, { prompt, chosen, rejected }: Pair) {
  return { round, problem, prompt: Array.from(prompt), chosen: sideRecord(chosen), rejected: sideRecord(rejected) };
}

function sideRecord({ completion, mask, reward }: Answer) {
  const whole = mask.every((one) => one === 1);
  return { completion: Array.from(completion), ...(whole ? {} : { mask: Array.from(mask) }), reward };
}

/** The pairs of a round in the order in which they were written. Throws TrainError RESUME_DAMAGED for a line that is none. */
export function readPairs(path: string, round: number): Pair[] {
  const pairs: Pair[] = [];
  let number = 0;
  for (const text of linesOf(path)) {
    number++;
    const record = parsed(text);
    if (record === null)
      throw new TrainError(
        "RESUME_DAMAGED",
        `[${path}] expected a pair in line ${number}, got something else; put the file back as it was written`,
      );
    if (record.round !== round) continue;
    const { prompt, chosen, rejected } = record;
    pairs.push({ prompt: Int32Array.from(prompt), chosen: answer(chosen), rejected: answer(rejected) });
  }
  return pairs;
}

function parsed(text: string): z.output<typeof line> | null {
  try {
    return line.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

function answer({ completion, mask, reward }: z.output<typeof side>): Answer {
  const all = new Uint8Array(completion.length).fill(1);
  return { completion: Int32Array.from(completion), mask: mask ? Uint8Array.from(mask) : all, reward };
}

/** Lines one after another: the file may be longer than a text can be. */
function* linesOf(path: string): Generator<string> {
  const file = openSync(path, "r");
  try {
    const chunk = Buffer.alloc(chunkBytes);
    let rest: Buffer[] = [];
    for (let read = readSync(file, chunk); read > 0; read = readSync(file, chunk)) {
      let from = 0;
      for (let end = chunk.indexOf(10); end >= 0 && end < read; end = chunk.indexOf(10, from)) {
        yield Buffer.concat([...rest, chunk.subarray(from, end)]).toString();
        rest = [];
        from = end + 1;
      }
      if (from < read) rest.push(Buffer.from(chunk.subarray(from, read)));
    }
  } finally {
    closeSync(file);
  }
}

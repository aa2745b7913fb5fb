// A seeded order over records: every epoch is a fresh permutation keyed by (seed, epoch), and the place in it is plain data that a
// checkpoint can keep. Mixtures of sources are in mixture.ts.
import { z } from "zod";
import { InputError } from "../errors.js";
import { random } from "./random.js";
import type { Json, Resumable } from "./resumable.js";

/** Where a source stands: `position` records of `epoch` have been handed out. Plain JSON. */
export interface Cursor {
  readonly seed: number;
  readonly epoch: number;
  readonly position: number;
}

/** Records by index: a list, or a store that is larger than memory. */
export interface Records<T> {
  readonly length: number;
  at(index: number): T | undefined;
}

/** Keeps the order's random numbers apart from other users of the same seed. */
const orderStream = 0x0de7;

/** The order of n records in an epoch. */
export function epochOrder(n: number, seed: number, epoch: number): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  const rng = random(seed, orderStream, epoch);
  for (let last = n - 1; last > 0; last--) {
    const other = rng.int(last + 1);
    const kept = order[last]!;
    order[last] = order[other]!;
    order[other] = kept;
  }
  return order;
}

/** Far from where the next one is no exact number. */
const MOST = 2 ** 52;
const count = z.int().min(0).max(MOST);
const cursorSchema = z.object({ seed: z.int(), epoch: count, position: count, records: count });

/** A state as its schema has it. Throws InputError CURSOR_RANGE for another one. */
export function readState<State>(schema: z.ZodType<State>, state: Json): State {
  const parsed = schema.safeParse(state);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const got = `another one (${issue?.path.join(".") || "state"}: ${issue?.message})`;
  throw new InputError(
    "CURSOR_RANGE",
    `[cursor] expected a place in the data, got ${got}; use the state as it was written`,
  );
}

/** Hands out records in seeded order, epoch after epoch, from any cursor. */
export class OrderedSource<T> implements Resumable {
  readonly #records: Records<T>;
  #cursor: Cursor;
  #order: Uint32Array;

  constructor(records: Records<T>, cursor: Cursor) {
    if (records.length === 0)
      throw new InputError("SOURCE_EMPTY", "[data] expected at least one record, got none; add records");
    this.#records = records;
    this.#cursor = cursor;
    this.#order = this.#orderAt(cursor);
  }

  /** The cursor and the number of records that it was made on. */
  save(): Json {
    return { ...this.#cursor, records: this.#records.length };
  }

  /** Throws InputError CURSOR_RANGE where it is no cursor, or was made on another number of records. */
  restore(state: Json): void {
    const { records, ...cursor } = readState(cursorSchema, state);
    if (records !== this.#records.length) {
      throw new InputError(
        "CURSOR_RANGE",
        `[cursor] expected the ${records} records that it was made on, got ${this.#records.length}; put the data back as it was`,
      );
    }
    this.#order = this.#orderAt(cursor);
    this.#cursor = cursor;
  }

  #orderAt({ seed, epoch, position }: Cursor): Uint32Array {
    const { length } = this.#records;
    if (position >= 0 && position <= length) return epochOrder(length, seed, epoch);
    throw new InputError(
      "CURSOR_RANGE",
      `[cursor] expected a position in 0..${length}, got ${position}; the data is not what the cursor was made on`,
    );
  }

  /** Resume from here to get what `next` would give. */
  get cursor(): Cursor {
    return this.#cursor;
  }

  /** The next `count` records; crosses into further epochs as needed. */
  next(count: number): T[] {
    return Array.from({ length: count }, () => this.#one());
  }

  #one(): T {
    if (this.#cursor.position === this.#records.length) {
      const epoch = this.#cursor.epoch + 1;
      this.#cursor = { seed: this.#cursor.seed, epoch, position: 0 };
      this.#order = epochOrder(this.#records.length, this.#cursor.seed, epoch);
    }
    const record = this.#records.at(this.#order[this.#cursor.position]!)!;
    this.#cursor = { ...this.#cursor, position: this.#cursor.position + 1 };
    return record;
  }
}

// A weighted mixture of sources in seeded order. Which source gives draw n is a pure function of (seed, n), each source goes through its own
// permutations, and the place in all of it is plain data that a checkpoint can keep.
import { z } from "zod";
import { InputError } from "../errors.js";
import { OrderedSource, type Records, readState } from "./order.js";
import { random } from "./random.js";
import type { Json, Resumable } from "./resumable.js";

export interface MixturePart<T> {
  readonly records: Records<T>;
  /** Share, relative to the other parts; > 0. */
  readonly weight: number;
}

export interface MixtureOptions {
  readonly seed: number;
  /** "repeat": a source that is used up starts over at once. "leave": it is out until all are used up. Default "repeat". */
  readonly exhausted?: "repeat" | "leave";
}

/** Keep the draws of sources and their orders apart from other users of the same seed. */
const mixtureStream = 0x3177;
const partStream = 0x3178;

const stateSchema = z.object({ seed: z.int(), draws: z.int().min(0), sources: z.array(z.json() as z.ZodType<Json>) });

export class Mixture<T> implements Resumable {
  readonly #parts: readonly MixturePart<T>[];
  readonly #seed: number;
  readonly #leave: boolean;
  readonly #sources: readonly OrderedSource<T>[];
  #draws = 0;

  constructor(parts: readonly MixturePart<T>[], { seed, exhausted = "repeat" }: MixtureOptions) {
    if (parts.length === 0)
      throw new InputError("SOURCE_EMPTY", "[data] expected at least one source, got none; set data");
    this.#parts = parts;
    this.#seed = seed;
    this.#leave = exhausted === "leave";
    this.#sources = parts.map(({ records }, i) => {
      const own = i === 0 ? seed : random(seed, partStream, i).int(2 ** 31);
      return new OrderedSource(records, { seed: own, epoch: 0, position: 0 });
    });
  }

  /** The next `count` records. */
  next(count: number): T[] {
    return Array.from({ length: count }, () => this.#one());
  }

  /** The draws so far and the place in each source. */
  save(): Json {
    return { seed: this.#seed, draws: this.#draws, sources: this.#sources.map((source) => source.save()) };
  }

  /** Throws InputError CURSOR_RANGE for what is no state, or one of another seed or other data. */
  restore(state: Json): void {
    const { seed, draws, sources } = readState(stateSchema, state);
    if (seed !== this.#seed || sources.length !== this.#sources.length) {
      throw new InputError(
        "CURSOR_RANGE",
        `[cursor] expected seed ${seed} and ${sources.length} sources, which it was made on, got seed ${this.#seed} and ` +
          `${this.#sources.length}; put the settings back as they were`,
      );
    }
    this.#sources.forEach((source, i) => {
      source.restore(sources[i]!);
    });
    this.#draws = draws;
  }

  #one(): T {
    const draw = this.#draws++;
    if (this.#sources.length === 1) return this.#sources[0]!.next(1)[0]!;
    const index = random(this.#seed, mixtureStream, draw).weighted(this.#weights());
    return this.#sources[index]!.next(1)[0]!;
  }

  /** A part that is ahead of the others by an epoch, its last record included, waits for them. */
  #weights(): readonly number[] {
    const weights = this.#parts.map(({ weight }) => weight);
    if (!this.#leave) return weights;
    const done = this.#sources.map(({ cursor }, i) => {
      return cursor.epoch + (cursor.position === this.#parts[i]!.records.length ? 1 : 0);
    });
    const least = Math.min(...done);
    return weights.map((weight, i) => (done[i] === least ? weight : 0));
  }
}

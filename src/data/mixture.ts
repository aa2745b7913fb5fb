// A weighted mixture of sources in seeded order. Which source gives draw n is a pure function of (seed, n), each source goes through its own
// permutations, and the place in all of it is plain data that a checkpoint can keep.
import { InputError } from "../errors.js";
import { OrderedSource, type Records } from "./order.js";
import { random } from "./random.js";

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

/** Where a mixture stands. Plain JSON. */
export interface MixtureCursor {
  readonly seed: number;
  readonly draws: number;
  /** Of each part: how many records it has, to know it again, and how far it is. */
  readonly parts: readonly { readonly records: number; readonly epoch: number; readonly position: number }[];
}

/** Keep the draws of sources and their orders apart from other users of the same seed. */
const mixtureStream = 0x3177;
const partStream = 0x3178;

export class Mixture<T> {
  readonly #parts: readonly MixturePart<T>[];
  readonly #seed: number;
  readonly #leave: boolean;
  #sources: readonly OrderedSource<T>[];
  #draws = 0;

  constructor(parts: readonly MixturePart<T>[], { seed, exhausted = "repeat" }: MixtureOptions) {
    if (parts.length === 0) throw new InputError("SOURCE_EMPTY", "[data] expected at least one source, got none");
    this.#parts = parts;
    this.#seed = seed;
    this.#leave = exhausted === "leave";
    this.#sources = this.#open(parts.map(() => ({ epoch: 0, position: 0 })));
  }

  /** The next `count` records. */
  next(count: number): T[] {
    return Array.from({ length: count }, () => this.#one());
  }

  /** What `restore` takes to go on from here. */
  save(): MixtureCursor {
    const parts = this.#sources.map(({ cursor: { epoch, position } }, i) => {
      return { records: this.#parts[i]!.records.length, epoch, position };
    });
    return { seed: this.#seed, draws: this.#draws, parts };
  }

  /** Throws InputError CURSOR_RANGE for a cursor of another seed or other data. */
  restore(cursor: MixtureCursor): void {
    const records = (parts: readonly { readonly records: number }[]) => parts.map((part) => part.records).join(", ");
    const expected = `seed ${this.#seed} and sources of ${records(this.save().parts)} records`;
    const got = `seed ${cursor.seed} and sources of ${records(cursor.parts)}`;
    if (`${got} records` !== expected) {
      throw new InputError("CURSOR_RANGE", `[cursor] expected ${expected}, got ${got}; give the run the data it had`);
    }
    this.#sources = this.#open(cursor.parts);
    this.#draws = cursor.draws;
  }

  #open(places: readonly { readonly epoch: number; readonly position: number }[]): readonly OrderedSource<T>[] {
    return this.#parts.map(({ records }, i) => {
      const seed = i === 0 ? this.#seed : random(this.#seed, partStream, i).int(2 ** 31);
      return new OrderedSource(records, { seed, epoch: places[i]!.epoch, position: places[i]!.position });
    });
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

// Ids to text piece by piece: what is given out joins to the text of all ids, and no piece ends inside a character. Leaves out stop strings.

/** Ids before a piece that its text may depend on, such as one that a leading space is kept or dropped for. */
const CONTEXT = 8;
const REPLACEMENT = "\ufffd";

export class TextStream {
  readonly #decode: (ids: readonly number[]) => string;
  readonly #ids: number[];
  /** Ids [from, told) were decoded with the last piece; those from `told` on are not told yet. */
  #from = 0;
  #told: number;

  /** `before`: ids of the prompt, whose text is not given out. */
  constructor(decode: (ids: readonly number[]) => string, before: readonly number[]) {
    this.#decode = decode;
    this.#ids = before.slice(-CONTEXT);
    this.#told = this.#ids.length;
  }

  /** Takes ids; returns the text that is certain. */
  add(ids: ArrayLike<number>): string {
    this.#ids.push(...Array.from(ids));
    return this.#next(false);
  }

  /** The rest, with U+FFFD for bytes that are no whole character. */
  end(): string {
    return this.#next(true);
  }

  #next(isLast: boolean): string {
    if (this.#told === this.#ids.length) return "";
    const before = this.#decode(this.#ids.slice(this.#from, this.#told));
    const all = this.#decode(this.#ids.slice(this.#from));
    if (!isLast && all.endsWith(REPLACEMENT)) return "";
    this.#from = this.#told;
    this.#told = this.#ids.length;
    return all.slice(before.length);
  }
}

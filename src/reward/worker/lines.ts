// Chunks of bytes to lines of text, cut at "\n" alone: JSON may hold every other sign of a line's end.

const NEWLINE = 0x0a;

export class LineCutter {
  #held: Buffer[] = [];
  #bytes = 0;
  readonly #mostBytes: number;

  constructor(mostBytes: number = Number.POSITIVE_INFINITY) {
    this.#mostBytes = mostBytes;
  }

  /** The lines that end in this chunk. Throws an Error for one that is too long. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      lines.push(Buffer.concat([...this.#held, chunk.subarray(from, end)]).toString("utf8"));
      this.#held = [];
      this.#bytes = 0;
      from = end + 1;
    }
    this.#held.push(chunk.subarray(from));
    this.#bytes += chunk.length - from;
    if (this.#bytes > this.#mostBytes) throw new Error(`expected a line of at most ${this.#mostBytes} bytes`);
    return lines;
  }
}

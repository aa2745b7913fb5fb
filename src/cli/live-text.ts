// Text of samples while they are drawn: the first that is not over is written as it comes, those behind it when it is their turn.
import type { GenerateChunk } from "../engine/types.js";
import { beforeStop, uncertain } from "../prompt/stop-strings.js";
import { TextStream } from "../prompt/text-stream.js";

interface Live {
  readonly stream: TextStream;
  /** Not written yet. */
  pending: string;
  isOver: boolean;
}

export class LiveText {
  readonly #live: readonly Live[];
  readonly #stops: readonly string[];
  readonly #write: (text: string) => void;
  #turn = 0;

  constructor(
    decode: (ids: readonly number[]) => string,
    prompt: readonly number[],
    samples: number,
    stops: readonly string[],
    write: (text: string) => void,
  ) {
    this.#stops = stops;
    this.#write = write;
    this.#live = Array.from({ length: samples }, () => ({
      stream: new TextStream(decode, prompt),
      pending: "",
      isOver: false,
    }));
    this.#begin();
  }

  add({ sample, tokens, finish, stopString }: GenerateChunk): void {
    const live = this.#live[sample]!;
    live.pending += live.stream.add(tokens);
    if (finish !== null) {
      live.pending = beforeStop(live.pending + live.stream.end(), stopString);
      live.isOver = true;
    }
    this.#flush();
  }

  #begin(): void {
    if (this.#live.length > 1 && this.#turn < this.#live.length) this.#write(`--- ${this.#turn + 1}\n`);
  }

  #flush(): void {
    for (let live = this.#live[this.#turn]; live !== undefined; live = this.#live[this.#turn]) {
      const certain = live.isOver ? live.pending.length : live.pending.length - uncertain(live.pending, this.#stops);
      if (certain > 0) this.#write(live.pending.slice(0, certain));
      live.pending = live.pending.slice(certain);
      if (!live.isOver) return;
      this.#write("\n");
      this.#turn++;
      this.#begin();
    }
  }
}

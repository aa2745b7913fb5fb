// Tokens as they are drawn, as an async iterable of chunks. The engine's thread waits while its queue is full, so a slow reader holds up
// the sampling and nothing piles up. Leaves out the call itself: that is the engine's.
import type { NativeTokens } from "./addon.js";
import { finishOf, type GenerateArgs, stopStringOf } from "./generate.js";
import type { GenerateChunk, GenerateResult } from "./types.js";

/** The call that a stream reads from. */
export interface StreamSource {
  readonly args: GenerateArgs;
  /** Starts it; `onTokens` is called when there are tokens to take. */
  start(onTokens: () => void): Promise<GenerateResult>;
  take(): NativeTokens;
  abort(): void;
}

/** Returns the whole result; ends the call when it is left early. */
export async function* streamTokens(source: StreamSource): AsyncGenerator<GenerateChunk, GenerateResult, undefined> {
  const bell = new Bell();
  const running = source.start(() => bell.ring());
  let isOver = false;
  const end = () => {
    isOver = true;
    bell.ring();
  };
  running.then(end, end);
  const ended = new Set<number>();
  try {
    for (let isLast = false; !isLast; ) {
      await bell.rung();
      isLast = isOver; // what comes later is in the queue by now
      for (const chunk of chunksOf(source.take(), source.args)) {
        if (chunk.finish !== null) ended.add(chunk.sample);
        yield chunk;
      }
    }
    const result = await running;
    for (const [sample, finish] of result.finish.entries())
      if (!ended.has(sample)) yield { ...nothing, sample, finish, stopString: null };
    return result;
  } finally {
    if (!isOver) source.abort();
    await running.catch(() => undefined);
  }
}

const nothing = { tokens: new Int32Array(0), logprobs: new Float32Array(0), samplerLogprobs: new Float32Array(0) };

/** Wakes the one who waits, or lets the next one through. */
class Bell {
  #isRung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#isRung = true;
    this.#wake?.();
  }

  async rung(): Promise<void> {
    if (!this.#isRung) await new Promise<void>((wake) => (this.#wake = wake));
    this.#isRung = false;
  }
}

/** One chunk a sample, in the order of their first tokens. */
function chunksOf(native: NativeTokens, args: GenerateArgs): GenerateChunk[] {
  const places = new Map<number, number[]>(); // of each sample's tokens
  native.samples.forEach((sample, i) => {
    const mine = places.get(sample);
    if (mine === undefined) places.set(sample, [i]);
    else mine.push(i);
  });
  return [...places].map(([sample, mine]) => {
    const last = mine.at(-1)!;
    const finish = finishOf(native.finish[last]!);
    return {
      sample,
      tokens: Int32Array.from(mine, (i) => native.tokens[i]!),
      logprobs: Float32Array.from(mine, (i) => native.logprobs[i]!),
      samplerLogprobs: Float32Array.from(mine, (i) => native.samplerLogprobs[i]!),
      finish: finish === "abort" ? null : finish,
      stopString: stopStringOf(args, sample, native.stopStrings[last]!),
    };
  });
}

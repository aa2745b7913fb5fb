// Calls to a tokenizer that runs in a process of its own, synchronous or not. Tokenizer files come from strangers and can make the library
// spin or fill the heap, so their process has a deadline for each call, counted in the processor's time, and a heap limit; what it does wrong ends
// it and nothing else.

import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import { CLOCK_FACTOR } from "../config/cpu-deadline.mjs";
import type { Spelling } from "./token-bytes.js";

export interface TokenizerCalls {
  load: { request: { text: string; config: object }; value: Loaded };
  encode: { request: { texts: readonly string[]; addSpecialTokens: boolean }; value: Encoded };
  decode: { request: { ids: readonly number[]; skipSpecialTokens: boolean }; value: string };
  spelling: { request: object; value: Spelling };
  token: { request: { id: number }; value: string | null };
  tokenId: { request: { token: string }; value: number | null };
}

export interface Loaded {
  readonly vocabSize: number;
  readonly bosId: number | null;
  readonly eosId: number | null;
}

/** Texts as ids, end to end. */
export interface Encoded {
  readonly ids: Int32Array; // [T]
  readonly ends: Int32Array; // [texts]
  /** The first text that the vocabulary cannot spell, or -1. */
  readonly unknown: number;
}

type Name = keyof TokenizerCalls;
type Answer = { readonly call: number; readonly value: unknown; readonly error?: string };
type Pending = { resolve(value: unknown): void; reject(error: Error): void };

const CLOSED = "its process was closed";
const HEAP_MB = 1024;
/** Longest wait for the thread between beyond what the calls may take by the clock; it keeps their deadlines itself. */
const THREAD_GRACE_MS = 10_000;

/** A process that nobody refers to any more is ended. */
const forgotten = new FinalizationRegistry<Worker>((worker) => void worker.terminate());

export class TokenizerProcess {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  /** Counts answers, so that a caller can sleep until there is one. */
  readonly #answers: Int32Array;
  readonly #pending: Map<number, Pending>;
  readonly #deadlineMs: number;
  /** Of all calls so far. */
  #longestDeadlineMs = 0;
  #calls = 0;
  #closed = false;

  constructor(deadlineMs: number, heapMb: number = HEAP_MB) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#answers = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    this.#deadlineMs = deadlineMs;
    this.#worker = new Worker(new URL("./tokenizer-relay.mjs", import.meta.url), {
      workerData: { port: port2, answers: this.#answers, heapMb },
      transferList: [port2],
      execArgv: [],
    });
    const pending = new Map<number, Pending>();
    this.#pending = pending;
    port1.on("message", (answer: Answer) => settle(pending, port1, answer)); // holds nothing of `this`: see `forgotten`
    this.#worker.on("error", (error) => rejectAll(pending, port1, error.message));
    this.#worker.unref();
    port1.unref();
    forgotten.register(this, this.#worker);
  }

  /** Throws Error with the reason of the process; the caller's event loop waits. */
  callSync<N extends Name>(name: N, request: TokenizerCalls[N]["request"]): TokenizerCalls[N]["value"] {
    const call = this.#send(name, request, this.#deadlineMs);
    const bound = this.#clockBoundMs();
    const end = performance.now() + bound;
    for (;;) {
      const seen = Atomics.load(this.#answers, 0);
      const answer = receiveMessageOnPort(this.#port)?.message as Answer | undefined;
      if (answer?.call === call) return resultOf(answer) as TokenizerCalls[N]["value"];
      if (answer !== undefined) settle(this.#pending, this.#port, answer);
      else if (Atomics.wait(this.#answers, 0, seen, end - performance.now()) === "timed-out") {
        throw new Error(`no answer within ${bound} ms by the clock`);
      }
    }
  }

  /** As `callSync`, without making the event loop wait. */
  call<N extends Name>(
    name: N,
    request: TokenizerCalls[N]["request"],
    deadlineMs: number = this.#deadlineMs,
  ): Promise<TokenizerCalls[N]["value"]> {
    return new Promise((resolve, reject) => {
      this.#port.ref();
      this.#pending.set(this.#send(name, request, deadlineMs), { resolve: resolve as Pending["resolve"], reject });
    });
  }

  /** Ends the process; idempotent. Calls after that fail. */
  [Symbol.dispose](): void {
    forgotten.unregister(this);
    this.#closed = true;
    void this.#worker.terminate();
    rejectAll(this.#pending, this.#port, CLOSED);
  }

  /** What the call that was sent last may take, behind those that wait and a loading of the same files by another process. */
  #clockBoundMs(): number {
    return (this.#pending.size + 2) * CLOCK_FACTOR * this.#longestDeadlineMs + THREAD_GRACE_MS;
  }

  #send(name: Name, request: unknown, deadlineMs: number): number {
    if (this.#closed) throw new Error(CLOSED);
    this.#longestDeadlineMs = Math.max(this.#longestDeadlineMs, deadlineMs);
    const call = ++this.#calls;
    this.#port.postMessage({ call, name, request, deadlineMs });
    return call;
  }
}

function settle(pending: Map<number, Pending>, port: MessagePort, answer: Answer): void {
  const waiting = pending.get(answer.call);
  pending.delete(answer.call);
  if (pending.size === 0) port.unref();
  if (answer.error === undefined) waiting?.resolve(answer.value);
  else waiting?.reject(new Error(answer.error));
}

function rejectAll(pending: Map<number, Pending>, port: MessagePort, error: string): void {
  for (const call of [...pending.keys()]) settle(pending, port, { call, value: null, error });
}

function resultOf({ value, error }: Answer): unknown {
  if (error === undefined) return value;
  throw new Error(error);
}

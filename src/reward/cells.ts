// A batch's state in shared memory: which item is in hand, which is done with what rewards. The worker writes it while it works, the parent
// reads it at any time, so a worker that hangs or dies still shows how far it came. Items are samples, or groups of several rewards.

const WAITING = 0;
const IN_HAND = 1;
const DONE = 2;
const FAILED = 3;

export type CellState = typeof WAITING | typeof IN_HAND | typeof DONE | typeof FAILED;

const BYTES_OF_STATE = Int32Array.BYTES_PER_ELEMENT;
const BYTES_OF_REWARD = Float64Array.BYTES_PER_ELEMENT;

export class Cells {
  readonly buffer: SharedArrayBuffer;
  readonly sizes: readonly number[]; // [n] rewards of each item
  readonly #states: Int32Array; // [n + 1], the heartbeat last
  readonly #rewards: Float64Array; // [sum of sizes]
  readonly #offsets: readonly number[]; // [n]

  /** Without a buffer all items wait. */
  constructor(sizes: readonly number[], buffer?: SharedArrayBuffer) {
    let rewards = 0;
    this.#offsets = sizes.map((size) => {
      rewards += size;
      return rewards - size;
    });
    const stateBytes = Math.ceil(((sizes.length + 1) * BYTES_OF_STATE) / BYTES_OF_REWARD) * BYTES_OF_REWARD;
    this.sizes = sizes;
    this.buffer = buffer ?? new SharedArrayBuffer(stateBytes + rewards * BYTES_OF_REWARD);
    this.#states = new Int32Array(this.buffer, 0, sizes.length + 1);
    this.#rewards = new Float64Array(this.buffer, stateBytes, rewards);
  }

  start(item: number): void {
    Atomics.store(this.#states, item, IN_HAND);
  }

  finish(item: number, rewards: ArrayLike<number>): void {
    this.#rewards.set(rewards, this.#offsets[item]!);
    Atomics.store(this.#states, item, DONE); // behind the rewards: who sees it sees them
  }

  fail(item: number): void {
    Atomics.store(this.#states, item, FAILED);
  }

  /** The worker's event loop turns. */
  beat(): void {
    Atomics.add(this.#states, this.sizes.length, 1);
  }

  get beats(): number {
    return Atomics.load(this.#states, this.sizes.length);
  }

  isDone(item: number): boolean {
    return Atomics.load(this.#states, item) === DONE;
  }

  hasBegun(): boolean {
    return this.sizes.some((_, item) => Atomics.load(this.#states, item) !== WAITING);
  }

  /** Items that were begun and are neither done nor failed. */
  inHand(): readonly number[] {
    return this.sizes.flatMap((_, item) => (Atomics.load(this.#states, item) === IN_HAND ? [item] : []));
  }

  /** Rewards of an item that is done, copied. */
  rewards(item: number): Float64Array {
    const from = this.#offsets[item]!;
    return this.#rewards.slice(from, from + this.sizes[item]!);
  }
}

// How long a run still takes. The running part is extrapolated from its own pace; the parts after it from the work they are said to
// be, at the pace of the work done so far. Leaves out wall time: the caller says how many seconds have passed.

/** A part of a run, known before it starts. */
export interface PartPlan {
  readonly name: string;
  readonly title: string;
  readonly steps: number;
  /** It may come to fewer steps than that. */
  readonly atMost?: boolean;
  /** Work of the whole part in any unit that all parts share, such as expected seconds on some machine. */
  readonly work: number;
}

const settled = 1; // seconds a part must have run before its pace is believed

export class RunClock {
  #parts: readonly PartPlan[];
  #current: PartPlan | null = null;
  #done = 0; // fraction of the current part
  #seconds = 0; // of the current part
  #finishedWork = 0;
  #finishedSeconds = 0;

  constructor(parts: readonly PartPlan[]) {
    this.#parts = parts;
  }

  /** The named part begins; those before it are over, or were skipped. */
  begin(name: string): PartPlan {
    const place = this.#parts.findIndex((part) => part.name === name);
    const next = this.#parts[place];
    if (next === undefined) {
      throw new Error(`[clock] expected one of ${this.#parts.map((part) => part.name).join(", ")}, got ${name}`);
    }
    this.#finish();
    this.#current = next;
    this.#parts = this.#parts.slice(place + 1);
    return next;
  }

  /** A fraction `done` in 0..1 of the running part took `seconds`. */
  tick(done: number, seconds: number): void {
    this.#done = Math.min(1, done);
    this.#seconds = seconds;
  }

  /** Seconds to the end of the run; null while the pace is unknown. */
  remaining(): number | null {
    if (this.#current === null || this.#done === 0 || this.#seconds < settled) return null;
    const inPart = (this.#seconds * (1 - this.#done)) / this.#done;
    const doneWork = this.#finishedWork + this.#current.work * this.#done;
    const later = this.#parts.reduce((sum, part) => sum + part.work, 0);
    return inPart + (later * (this.#finishedSeconds + this.#seconds)) / doneWork;
  }

  #finish(): void {
    if (this.#current === null) return;
    this.#finishedWork += this.#current.work;
    this.#finishedSeconds += this.#seconds;
    this.#done = 0;
    this.#seconds = 0;
  }
}

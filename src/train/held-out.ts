// Evaluation between the steps of a training part: a figure on held-out problems every so many steps, which checkpoint had the best one,
// and when to stop because it gets no better. Leaves out how the figure is measured.
import type { Json, Resumable } from "../data/resumable.js";
import type { Metrics } from "./run.js";

export interface HeldOutSettings {
  /** Steps between evaluations; 0 is none. */
  readonly every: number;
  /** Evaluations in a row without a better figure that end the part; 0 is off. */
  readonly patience: number;
}

export interface HeldOut extends HeldOutSettings {
  /** The field of `measure` that is compared. */
  readonly figure: string;
  readonly better: "higher" | "lower";
  measure(): Promise<Metrics>;
}

/** The best figure of a part; plain JSON. */
export interface Best {
  /** Which figure. */
  readonly figure: string;
  /** The part's step that it was measured after. */
  readonly step: number;
  readonly value: number;
  /** Whether the part ends with that step's weights. */
  readonly kept: boolean;
}

const shownDigits = 4;

export const showFigure = (value: number): string => value.toPrecision(shownDigits);

/** How a part ended that was measured, and with which weights. */
export function bestText({ figure, step, value, kept }: Best, last: number, exhausted: number | null): string {
  const was = `${figure} ${showFigure(value)} of step ${step} is the best`;
  const weights = kept
    ? `the run ends with the weights of step ${step}`
    : `the run ends with the weights of step ${last}, and checkpoints/best, if any are kept, is of step ${step}; evaluation.patience ends with the best`;
  if (exhausted === null) return `${was}: ${weights}`;
  return `stopped after step ${last}, ${figure} being no better in ${exhausted} evaluations: ${was}, ${weights}`;
}

/** The best figure so far and how many evaluations ago it was. */
export class BestSoFar implements Resumable {
  /** Training steps of the run when it was measured. */
  trained: number | null = null;
  value: number | null = null;
  #since = 0;

  constructor(readonly rule: Pick<HeldOut, "better" | "patience">) {}

  /** Takes note of a figure; says whether it is the best so far. A figure that is not a number never is. */
  note(value: number, trained: number): boolean {
    const best = this.value;
    const better =
      Number.isFinite(value) && (best === null || (this.rule.better === "higher" ? value > best : value < best));
    this.#since = better ? 0 : this.#since + 1;
    if (better) Object.assign(this, { value, trained });
    return better;
  }

  /** No better figure for as many evaluations as the patience allows. */
  get exhausted(): boolean {
    return this.rule.patience > 0 && this.#since >= this.rule.patience;
  }

  save(): Json {
    return { trained: this.trained, value: this.value, since: this.#since };
  }

  restore(state: Json): void {
    const { since, ...best } = state as { trained: number | null; value: number | null; since: number };
    Object.assign(this, best);
    this.#since = since;
  }
}

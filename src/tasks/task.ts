// What every task shares: a problem has a stable number, a grade says right or wrong and why. Rewards are made from grades elsewhere.

export interface Problem {
  /** Stable number of the problem in its task: keys random numbers, names the problem in logs. */
  readonly id: number;
}

export interface Grade {
  readonly correct: boolean;
  /** Why the answer is wrong, in a few words; null when it is correct. */
  readonly reason: string | null;
}

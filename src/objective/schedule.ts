// Learning rates by step: a linear warm-up, then constant, cosine or linear decay to a fraction of the peak at the last step.

export interface LearningRateRule {
  /** The peak. */
  readonly learningRate: number;
  readonly schedule: "constant" | "cosine" | "linear";
  /** The peak is reached at this step; 0 is no warm-up. */
  readonly warmupSteps: number;
  /** Learning rate at the last step as a fraction of the peak; "constant" has no use for it. */
  readonly floor: number;
}

/** Learning rate of step 1 .. steps. */
export function learningRate(rule: LearningRateRule, step: number, steps: number): number {
  const { learningRate: peak, warmupSteps, floor } = rule;
  if (step <= warmupSteps) return (peak * step) / warmupSteps;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps));
  return peak * (floor + (1 - floor) * remaining(rule.schedule, progress));
}

/** Falls from 1 to 0 as progress goes from 0 to 1; stays at 1 for "constant". */
function remaining(schedule: LearningRateRule["schedule"], progress: number): number {
  if (schedule === "constant") return 1;
  return schedule === "cosine" ? (1 + Math.cos(Math.PI * progress)) / 2 : 1 - progress;
}

// How long something takes on a machine that has other work.

const ROUNDS = 20;

/** Milliseconds that `run` takes: the best of many rounds where the first are slow, since other processes may be in the way. */
export function milliseconds(run: () => void, limit: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS && best > limit; round++) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

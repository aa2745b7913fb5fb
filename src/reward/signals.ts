// One abort that follows another. `AbortSignal.any` on a signal that lives as long as a run would keep what it made until the run's end.

/** Aborts `to` with the reason of `from`, at once or later; call the result to part them. */
export function follow(from: AbortSignal, to: AbortController): () => void {
  const abort = () => to.abort(from.reason);
  if (from.aborted) abort();
  else from.addEventListener("abort", abort);
  return () => from.removeEventListener("abort", abort);
}

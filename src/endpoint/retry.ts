// How long to wait before a request is sent again. Pure.

export interface RetryPolicy {
  /** Times a request is sent again, at most. */
  readonly retries: number;
  /** Longest time from the first failure to the last attempt. */
  readonly retrySeconds: number;
  /** Before the first retry. */
  readonly backoffSeconds: number;
}

/** However often a request has failed. */
const MOST_BACKOFF_MS = 60_000;

/**
 * Milliseconds to wait after `failures` >= 1: exponential back-off, drawn from the upper half of its range by `uniform` in [0, 1), so that
 * requests that failed together do not come back together.
 */
export function backoffMs({ backoffSeconds }: RetryPolicy, failures: number, uniform: number): number {
  const whole = Math.min(MOST_BACKOFF_MS, 1000 * backoffSeconds * 2 ** (failures - 1));
  return whole * (0.5 + 0.5 * uniform);
}

/** Milliseconds that the headers ask to wait: Retry-After in seconds or as a date (RFC 9110), or retry-after-ms; null where they do not. */
export function retryAfterMs(headers: Headers | undefined, now: number): number | null {
  const ms = headers?.get("retry-after-ms") ?? "";
  if (isNumber(ms)) return Number(ms);
  const after = headers?.get("retry-after") ?? "";
  if (isNumber(after)) return 1000 * Number(after);
  const date = Date.parse(after);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

const isNumber = (text: string): boolean => /^\s*\d+(\.\d+)?\s*$/.test(text);

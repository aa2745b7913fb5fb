// What goes wrong with an endpoint: which failure it is, whether to try again, after how long, and what to tell the user. A key never gets
// into a message: what the endpoint says is searched for it.
import { MOST_DEADLINE_SECONDS } from "../config/endpoint.js";
import { InputError, ZazenError } from "../errors.js";
import { retryAfterMs } from "./retry.js";
import type { ChatAnswer, Usage } from "./types.js";

/**
 * Codes: ENDPOINT_DOWN (no connection, or HTTP 5xx), ENDPOINT_LIMIT (HTTP 429), ENDPOINT_TIMEOUT, ENDPOINT_ANSWER (no chat completion), each
 * after all retries; ENDPOINT_EMPTY (a completion without text); ENDPOINT_QUEUE. An InputError, after the first attempt, has ENDPOINT_KEY
 * (HTTP 401, 403), ENDPOINT_SETTING (HTTP 404, a host that there is not, a URL or a certificate that cannot be used) or ENDPOINT_REFUSED
 * (other HTTP 4xx, of the one request).
 */
export class EndpointError extends ZazenError {
  override readonly name: string = "EndpointError";

  constructor(
    code: string,
    message: string,
    options?: ErrorOptions,
    /** What the answer took that was of no use. */
    readonly usage: Usage | null = null,
  ) {
    super(code, message, options);
  }
}

/** One failed attempt. */
export interface Failure {
  readonly code: string;
  readonly got: string;
  readonly advice: string;
  /** Whether another attempt may go better. */
  readonly retry: boolean;
  /** Further attempts at most, where that is fewer than the settings say. */
  readonly mostRetries?: number;
  /** Milliseconds that the endpoint asks to wait. */
  readonly waitMs: number | null;
  readonly cause?: unknown;
  /** What the answer took. */
  readonly usage?: Usage | null;
}

/** The answer is no chat completion. */
export class NoCompletion extends Error {
  override readonly name = "NoCompletion";
}

/** What the openai package throws, as far as it is read here. */
interface HttpError {
  readonly status: number;
  readonly code?: unknown;
  readonly message: string;
  readonly headers?: Headers;
}

/** A port that nobody listens on is rarely opened while a request waits: a few attempts for a server that starts. */
const REFUSED_RETRIES = 3;
/** Of connections that no attempt will make: an unknown host, a port that fetch does not use, a URL, a certificate, TLS where there is none. */
const NEVER =
  /^(ENOTFOUND|ERR_INVALID_URL|ERR_SSL_|ERR_TLS_|EPROTO|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO)|^bad port$/;
const DOWN_ADVICE = "see whether it runs, and whether endpoint.baseURL is right";
const LIMIT_ADVICE = "lower endpoint.concurrency, or raise endpoint.retries and endpoint.retrySeconds";
const SHOWN_CHARACTERS = 300;
const INPUT_CODES = ["ENDPOINT_KEY", "ENDPOINT_REFUSED", "ENDPOINT_SETTING"];

/** HTTP status -> of a request that may be sent again. */
const PASSING = [408, 409, 425];

/** The failure that a caught value is; null where it is none of an endpoint. */
export function failureOf(error: unknown, isConnectionError: (error: unknown) => boolean): Failure | null {
  if (error instanceof NoCompletion || error instanceof SyntaxError) return junk(error);
  if (isHttpError(error)) return httpFailure(error);
  if (!isConnectionError(error)) return null;
  const inner = deepest(error);
  if (inner instanceof NoCompletion) return junk(inner);
  return connectionFailure(inner, error);
}

function connectionFailure(inner: unknown, cause: unknown): Failure {
  const { code = "", message = "" } = inner as NodeJS.ErrnoException;
  const known = { got: reason(inner), waitMs: null, cause };
  if (NEVER.test(code) || NEVER.test(message))
    return { ...known, code: "ENDPOINT_SETTING", advice: "correct endpoint.baseURL", retry: false };
  const few = code === "ECONNREFUSED" ? { mostRetries: REFUSED_RETRIES } : {};
  return { ...known, code: "ENDPOINT_DOWN", advice: DOWN_ADVICE, retry: true, ...few };
}

export function timeoutFailure(seconds: number): Failure {
  const advice =
    seconds < MOST_DEADLINE_SECONDS
      ? "raise endpoint.deadlineSeconds, or lower endpoint.concurrency or the tokens of an answer"
      : "lower the tokens of an answer or endpoint.concurrency, or take a faster endpoint: endpoint.deadlineSeconds is at its most";
  return { code: "ENDPOINT_TIMEOUT", got: `none within ${seconds} s`, advice, retry: true, waitMs: null };
}

export function emptyFailure({ finish, usage }: Pick<ChatAnswer, "finish" | "usage">): Failure {
  const advice = "raise the most tokens of an answer, or see what the endpoint filters";
  return {
    code: "ENDPOINT_EMPTY",
    got: `no text (finish_reason ${finish})`,
    advice,
    retry: false,
    waitMs: null,
    usage,
  };
}

/** The error that a call ends with. `where` names the endpoint, `key` must not be shown. */
export function endpointError(where: string, failure: Failure, attempts: number, key: string | null): ZazenError {
  const { code, got, advice, cause, usage = null } = failure;
  const times = attempts > 1 ? ` at the last of ${attempts} attempts` : "";
  const safe = without(key, `[endpoint ${where}] expected a chat completion, got ${got}${times}; ${advice}`);
  // A cause may hold the request's headers, so only its text is kept.
  const options = cause === undefined ? {} : { cause: new Error(without(key, reason(cause))) };
  return INPUT_CODES.includes(code) ? new InputError(code, safe) : new EndpointError(code, safe, options, usage);
}

/** What is said of an attempt that is followed by retry number `retry` of `most`. */
export function retryText(
  where: string,
  { got }: Failure,
  { waitMs, retry, most }: { readonly waitMs: number; readonly retry: number; readonly most: number },
  key: string | null,
): string {
  return without(key, `[endpoint ${where}] ${got}; retry ${retry} of ${most} in ${(waitMs / 1000).toFixed(1)} s`);
}

const without = (key: string | null, text: string): string => (key === null ? text : text.replaceAll(key, "***"));

function junk(error: Error): Failure {
  const advice = "see whether endpoint.baseURL is that of an OpenAI-compatible API";
  return { code: "ENDPOINT_ANSWER", got: clip(error.message), advice, retry: true, waitMs: null };
}

const isHttpError = (error: unknown): error is HttpError =>
  error instanceof Error && typeof (error as { status?: unknown }).status === "number";

function httpFailure(error: HttpError): Failure {
  const { status, headers } = error;
  const text = error.message.replace(`${status} `, "").trim();
  const got = `HTTP ${status}${text === "" ? "" : `: ${clip(text)}`}`;
  const failure = (code: string, advice: string, retry: boolean): Failure => ({
    code,
    got,
    advice,
    retry,
    waitMs: retry ? retryAfterMs(headers, Date.now()) : null,
  });
  if (status === 401 || status === 403)
    return failure("ENDPOINT_KEY", "set endpoint.apiKeyEnv to the variable that holds a key of this endpoint", false);
  if (status === 429 && error.code === "insufficient_quota")
    return failure("ENDPOINT_LIMIT", "raise the quota of the key", false);
  if (status === 429) return failure("ENDPOINT_LIMIT", LIMIT_ADVICE, true);
  if (status >= 500 || PASSING.includes(status)) return failure("ENDPOINT_DOWN", DOWN_ADVICE, true);
  if (status === 404) return failure("ENDPOINT_SETTING", "correct endpoint.baseURL or endpoint.model", false);
  const advice = "correct the request: endpoint.omit leaves fields out, endpoint.extra adds some";
  return failure("ENDPOINT_REFUSED", advice, false);
}

/** fetch says only "fetch failed"; why is in its causes. */
function deepest(error: unknown): unknown {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  return inner;
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return clip(error.message || String((error as NodeJS.ErrnoException).code ?? error.name));
}

const clip = (text: string): string => {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > SHOWN_CHARACTERS ? `${line.slice(0, SHOWN_CHARACTERS)}...` : line;
};

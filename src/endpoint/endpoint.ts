// An OpenAI-compatible endpoint of chat completions: so many requests at once, each under a deadline, sent again where that may help, with
// what all of it took. Leaves out streams, tools and everything but chat completions.
//
// The openai package sends the requests; its own retries are off. They wait without hearing an abort or a total limit, jitter by Math.random,
// take no broken answer for a failure, and its timeout ends with the headers, not with the body. Two policies at once would multiply.
import { setMaxListeners } from "node:events";
import type { OpenAI } from "openai";
import type { z } from "zod";
import { type EndpointInput, type EndpointSettings, endpointPart } from "../config/endpoint.js";
import { random } from "../data/random.js";
import { InputError } from "../errors.js";
import { type Completion, fetchWhole, readCompletion } from "./answer.js";
import { emptyFailure, endpointError, type Failure, failureOf, retryText, timeoutFailure } from "./faults.js";
import { Meter, type Spent } from "./meter.js";
import { backoffMs } from "./retry.js";
import type { ChatAnswer, ChatOptions, ChatRequest, ChatSource } from "./types.js";
import { deadline, Places, pause } from "./wait.js";

export interface EndpointOptions {
  /** Of the waits between retries. Default 0. */
  readonly seed?: number;
  /** Where the key's variable is looked for. Default: that of the process. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told of a request that failed and will be sent again. */
  readonly onRetry?: (message: string) => void;
}

/** Calls that may wait: so many for each place, and so many in any case. */
const LINE_PER_PLACE = 16;
const LEAST_LINE = 64;
/** Keeps the draws of waits apart from other users of the same seed. */
const retryStream = 0x3e70;

export class Endpoint implements ChatSource {
  /** As messages name it: URL and model. */
  readonly name: string;
  readonly #settings: EndpointSettings;
  readonly #client: OpenAI;
  readonly #isConnectionError: (error: unknown) => boolean;
  readonly #key: string | null;
  readonly #seed: number;
  readonly #onRetry: (message: string) => void;
  readonly #meter: Meter;
  readonly #places: Places;
  #calls = 0;
  #notBefore = 0; // ms since 1970: the endpoint asked to be left alone until then

  private constructor(
    settings: EndpointSettings,
    key: string | null,
    { seed = 0, onRetry = () => {} }: EndpointOptions,
    openai: typeof import("openai"),
  ) {
    this.name = `${settings.baseURL} ${settings.model}`;
    this.#settings = settings;
    this.#key = key;
    this.#seed = seed;
    this.#onRetry = onRetry;
    this.#client = clientOf(settings, key, openai.OpenAI);
    this.#isConnectionError = (error) => error instanceof openai.APIConnectionError;
    this.#meter = new Meter(settings.price);
    this.#places = new Places(settings.concurrency, Math.max(LEAST_LINE, LINE_PER_PLACE * settings.concurrency));
  }

  /** Sends nothing yet. Throws InputError ENDPOINT_SETTING: a setting out of its range, no URL, no model, no key in its variable. */
  static async open(own: EndpointInput, options: EndpointOptions = {}): Promise<Endpoint> {
    const { env = process.env } = options;
    const { data: settings, error } = endpointPart().safeParse(own);
    if (settings === undefined) throw outOfRange(error);
    if (settings.baseURL === "") throw settingError("baseURL", "the URL of an endpoint", "nothing", "set it");
    if (settings.model === "") throw settingError("model", "the name of a model", "nothing", "set it");
    return new Endpoint(settings, keyOf(settings, env), options, await import("openai"));
  }

  /** What all calls took so far. */
  get spent(): Spent {
    return this.#meter.spent;
  }

  /**
   * One chat completion. Throws EndpointError, or InputError where trying again is of no use: see EndpointError for the codes. Rejects with
   * the reason of a signal.
   */
  chat(request: ChatRequest, options: ChatOptions = {}): Promise<ChatAnswer> {
    const { signal, stop, key = this.#calls } = options;
    this.#calls++;
    const signals = [signal, stop].filter((each) => each !== undefined);
    setMaxListeners(0, ...signals); // as many as there are calls, and none that outlives its call
    return this.#places.use(signals, () => this.#persist(request, { signals, key, ...(signal && { signal }) }));
  }

  /** Sends the request until it is answered, or there is no use in it. */
  async #persist(request: ChatRequest, call: Call): Promise<ChatAnswer> {
    const jitter = random(this.#seed, retryStream, call.key);
    let until = Number.POSITIVE_INFINITY;
    for (let attempt = 1; ; attempt++) {
      await pause(Math.max(0, this.#notBefore - Date.now()), call.signals);
      const result = await this.#attempt(request, attempt, call.signal);
      if (!("code" in result)) return { ...result, attempts: attempt };
      if (attempt === 1) until = Date.now() + 1000 * this.#settings.retrySeconds;
      const waitMs = result.waitMs ?? backoffMs(this.#settings, attempt, jitter.next());
      const most = Math.min(this.#settings.retries, result.mostRetries ?? this.#settings.retries);
      const again = result.retry && attempt <= most;
      if (!again || Date.now() + waitMs > until) throw this.#error(result, attempt, again ? waitMs : null);
      this.#onRetry(retryText(this.name, result, { waitMs, retry: attempt, most }, this.#key));
      if (result.waitMs !== null) this.#notBefore = Math.max(this.#notBefore, Date.now() + waitMs);
      await pause(waitMs, call.signals);
    }
  }

  /** Sends the request once. */
  async #attempt(
    request: ChatRequest,
    attempt: number,
    signal: AbortSignal | undefined,
  ): Promise<Completion | Failure> {
    const { deadlineSeconds } = this.#settings;
    using time = deadline(1000 * deadlineSeconds, signal);
    this.#meter.sent(attempt);
    try {
      const completion = readCompletion(await this.#send(request, time.signal));
      this.#meter.answered(completion.usage);
      return completion.text.trim() === "" ? emptyFailure(completion) : completion;
    } catch (error) {
      signal?.throwIfAborted();
      if (time.isOver) return timeoutFailure(deadlineSeconds);
      const failure = failureOf(error, this.#isConnectionError);
      if (failure === null) throw error;
      return failure;
    }
  }

  /** The body of the answer. */
  async #send(
    { messages, temperature, topP, maxTokens, stop = [] }: ChatRequest,
    signal: AbortSignal,
  ): Promise<unknown> {
    const { model, omit, extra } = this.#settings;
    const fields = {
      model,
      messages,
      ...(temperature !== undefined && { temperature }),
      ...(topP !== undefined && { top_p: topP }),
      ...(maxTokens !== undefined && { max_tokens: maxTokens }),
      ...(stop.length > 0 && { stop }),
    };
    const body = Object.fromEntries(Object.entries(fields).filter(([name]) => !omit.includes(name)));
    return this.#client.post("/chat/completions", { body: { ...body, ...extra }, signal });
  }

  #error(failure: Failure, attempts: number, waitMs: number | null) {
    const limit = this.#settings.retrySeconds;
    const wait =
      waitMs === null ? "" : `, the next one ${(waitMs / 1000).toFixed(1)} s away, over retrySeconds ${limit}`;
    return endpointError(this.name, { ...failure, got: `${failure.got}${wait}` }, attempts, this.#key);
  }
}

interface Call {
  readonly signal?: AbortSignal;
  /** That end its waits. */
  readonly signals: readonly AbortSignal[];
  readonly key: number;
}

function clientOf(settings: EndpointSettings, key: string | null, Client: typeof OpenAI): OpenAI {
  return new Client({
    baseURL: settings.baseURL,
    apiKey: key ?? "none", // the package insists on one
    ...(key === null && { defaultHeaders: { Authorization: null } }),
    ...{ adminAPIKey: null, organization: null, project: null, webhookSecret: null }, // those of the environment are another endpoint's
    maxRetries: 0,
    timeout: Math.ceil(1000 * settings.deadlineSeconds) + 1000, // behind our own
    logLevel: "off",
    fetch: fetchWhole,
  });
}

function keyOf({ apiKeyEnv }: EndpointSettings, env: Readonly<Record<string, string | undefined>>): string | null {
  if (apiKeyEnv === "") return null;
  const key = env[apiKeyEnv] ?? "";
  const expected = "the name of a variable that holds a key";
  if (key === "") {
    const advice = `run it as ${apiKeyEnv}=... npx zazen, or export it before`;
    throw settingError(
      "apiKeyEnv",
      expected,
      `${apiKeyEnv}, which is ${apiKeyEnv in env ? "empty" : "not set"}`,
      advice,
    );
  }
  if (/^[\x21-\x7e]+$/.test(key)) return key;
  throw settingError("apiKeyEnv", expected, `${apiKeyEnv}, which holds blanks or other characters`, "set it again");
}

function outOfRange({ issues }: z.ZodError): InputError {
  const { path, message } = issues[0]!;
  return settingError(path.join("."), "a value of its range", message, "correct it");
}

function settingError(name: string, expected: string, got: string, advice: string): InputError {
  return new InputError("ENDPOINT_SETTING", `[endpoint.${name}] expected ${expected}, got ${got}; ${advice}`);
}

// How the hub is asked: where it is, as whom, how long an answer may take, and what a failure means to the user.
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { InputError } from "../errors.js";

export interface Hub {
  /** owner/name of the data set. */
  readonly name: string;
  readonly endpoint: string;
  /** Folder of the data set in the cache. */
  readonly cache: string;
  readonly offline: boolean;
  /** Longest silence while bytes are awaited. */
  readonly stallMs: number;
  /** What the functions of @huggingface/hub take. */
  readonly access: { readonly hubUrl: string; readonly fetch: typeof fetch; readonly accessToken?: string };
}

/** Thrown when no answer, or no further byte, came in time. */
export class HubTimeout extends Error {
  override readonly name = "HubTimeout";
}

const TIMEOUT_SECONDS = 10; // of huggingface_hub, for both
const DEFAULT_ENDPOINT = "https://huggingface.co";

/** The hub as the environment says. */
export async function openHub(name: string, signal?: AbortSignal): Promise<Hub> {
  const { getHFHubCachePath } = await import("@huggingface/hub");
  const { HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT } = process.env;
  const endpoint = (HF_ENDPOINT || DEFAULT_ENDPOINT).replace(/\/+$/, "");
  const answerMs = seconds("HF_HUB_ETAG_TIMEOUT", HF_HUB_ETAG_TIMEOUT);
  const token = await accessToken();
  return {
    name,
    endpoint,
    cache: join(cacheFolder(getHFHubCachePath()), `datasets--${name.replace("/", "--")}`),
    offline: /^(1|on|yes|true)$/i.test(HF_HUB_OFFLINE ?? ""),
    stallMs: seconds("HF_HUB_DOWNLOAD_TIMEOUT", HF_HUB_DOWNLOAD_TIMEOUT),
    access: {
      hubUrl: endpoint,
      fetch: (url, init) => fetchWithin(answerMs, url, init, signal),
      ...(token !== "" && { accessToken: token }),
    },
  };
}

/** HF_TOKEN, or what `hf auth login` left in the file HF_TOKEN_PATH, by default `token` in HF_HOME; "" where there is neither. */
async function accessToken(): Promise<string> {
  const { HF_TOKEN, HF_TOKEN_PATH, HF_HOME, XDG_CACHE_HOME } = process.env;
  if (HF_TOKEN) return HF_TOKEN;
  const home = HF_HOME || join(XDG_CACHE_HOME || "~/.cache", "huggingface");
  const path = (HF_TOKEN_PATH || join(home, "token")).replace(/^~(?=\/|$)/, homedir());
  try {
    return (await readFile(path, "utf8")).replaceAll(/[\r\n]/g, "").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    const advice = "make it readable, or set HF_TOKEN";
    throw new InputError("HUB_SETTING", `[${path}] expected a token, got ${(error as Error).message}; ${advice}`);
  }
}

/** An empty path would be the working folder. */
function cacheFolder(path: string): string {
  if (path !== "") return path;
  throw new InputError("HUB_SETTING", "[HF_HUB_CACHE] expected a folder, got nothing; set or unset it");
}

/** An answer with its whole body within the time; for small answers. */
async function fetchWithin(
  milliseconds: number,
  url: string | URL | Request,
  init: RequestInit | undefined,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const timeout = AbortSignal.timeout(milliseconds);
  try {
    const response = await fetch(url, { ...init, signal: signal ? AbortSignal.any([timeout, signal]) : timeout });
    const body = await response.arrayBuffer();
    return new Response(body, response);
  } catch (error) {
    if (timeout.aborted) throw new HubTimeout(`no answer within ${milliseconds} ms`, { cause: error });
    throw error;
  }
}

function seconds(name: string, text: string | undefined): number {
  if (text === undefined || text === "") return TIMEOUT_SECONDS * 1000;
  const value = Number(text);
  if (value > 0 && value < 86_400) return value * 1000;
  throw new InputError("HUB_SETTING", `[${name}] expected seconds > 0, got "${text}"; correct or unset it`);
}

/** The typed error for a request that failed; `what` was asked for. Aborts and typed errors pass. */
export function hubFailure(hub: Hub, what: string, cause: unknown): unknown {
  if (cause instanceof InputError || (cause as Error)?.name === "AbortError") return cause;
  const status = (cause as { statusCode?: unknown })?.statusCode;
  const fault = (code: string, got: string, advice: string) =>
    new InputError(code, `[hub:${hub.name}] expected ${what} from ${hub.endpoint}, got ${got}; ${advice}`, { cause });
  if (cause instanceof HubTimeout) return fault("HUB_TIMEOUT", cause.message, "try again, or raise the timeout");
  if (status === 401 || status === 403) {
    const advice = "set HF_TOKEN to a token that may read it, accept its terms on the hub, or correct the name";
    return fault("HUB_ACCESS", `HTTP ${status}`, advice);
  }
  if (status === 404) return fault("HUB_MISSING", "HTTP 404", "correct the name, the revision or the file");
  if (typeof status === "number") return fault("HUB_HTTP", `HTTP ${status}`, "try again later");
  return fault("HUB_NETWORK", reasonOf(cause), "check the network, or set HF_HUB_OFFLINE=1 to use what is cached");
}

/** fetch says only "fetch failed"; why is in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error
    ? `${error.message} (${cause.message || (cause as NodeJS.ErrnoException).code})`
    : error.message;
}

// A judge at an endpoint as commands use it: its settings, the answers that are kept in a file, what it has cost so far.
import { counted } from "../config/counted.js";
import type { Endpoint } from "../endpoint/endpoint.js";
import type { Spent } from "../endpoint/meter.js";
import type { JudgeOptions } from "../reward/judge/judge.js";
import type { JudgeSettings } from "../reward/judge/settings.js";
import { log } from "./output.js";

export interface OpenJudge {
  readonly endpoint: Endpoint;
  /** How it is asked; says now and then how far it is. */
  readonly options: JudgeOptions;
  /** The file of its answers. */
  readonly kept: string;
}

const PROGRESS_MS = 10_000;

/**
 * `keep`: a file of answers that are there already, which new ones are added to; default: one beside `judged`. Throws InputError of the
 * endpoint's settings and the file.
 */
export async function openJudge(
  settings: JudgeSettings,
  { keep, judged }: { readonly keep: string | undefined; readonly judged: string },
  signal: AbortSignal,
): Promise<OpenJudge> {
  const { Endpoint } = await import("../endpoint/endpoint.js");
  const endpoint = await Endpoint.open(settings.endpoint, { seed: settings.seed, onRetry: log });
  const { keptBeside, openKept } = await import("./judge-files.js");
  const kept = await openKept(keep ?? keptBeside(judged, settings));
  let [answered, at] = [0, performance.now()];
  const onAnswer: typeof kept.add = (answer) => {
    kept.add(answer);
    answered++;
    if (performance.now() - at < PROGRESS_MS) return;
    at = performance.now();
    log(`${answered} answers, ${costText(endpoint.spent)}`);
  };
  const { seed, bothOrders, temperature, maxTokens, maxFailures } = settings;
  const asked = { seed, bothOrders, temperature, maxTokens, maxFailures, window: 2 * settings.endpoint.concurrency };
  if (kept.known.size > 0) log(`${counted(kept.known.size, "answer")} of the judge from before in ${kept.path}`);
  return { endpoint, options: { ...asked, signal, known: kept.known, onAnswer }, kept: kept.path };
}

/** What a judge is asked; where that fails or is stopped, says what it has cost, and where its answers are. */
export async function judging<T>({ endpoint, kept }: OpenJudge, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (endpoint.spent.requests > 0)
      log(
        `judge: ${costText(endpoint.spent)}; its answers are in ${kept}, and the same command asks for the others alone`,
      );
    throw error;
  }
}

export function costText({ requests, promptTokens, completionTokens, cost }: Spent): string {
  const count = (n: number) => n.toLocaleString("en-US");
  const paid = cost > 0 ? `, cost ${cost.toFixed(4)}` : "";
  return `${count(requests)} requests, ${count(promptTokens)} tokens in, ${count(completionTokens)} out${paid}`;
}

// A judge at an endpoint as commands use it: its settings, the answers that are kept in a file, what it has cost so far.
import type { Endpoint } from "../endpoint/endpoint.js";
import type { Spent } from "../endpoint/meter.js";
import type { JudgeOptions } from "../reward/judge/judge.js";
import type { JudgeSettings } from "../reward/judge/settings.js";
import { log } from "./output.js";

export interface OpenJudge {
  readonly endpoint: Endpoint;
  /** How it is asked; says now and then how far it is. */
  readonly options: JudgeOptions;
}

const PROGRESS_MS = 10_000;

/** `keep`: a file of answers that are there already, which new ones are added to. Throws InputError of the endpoint's settings and the file. */
export async function openJudge(
  settings: JudgeSettings,
  keep: string | undefined,
  signal: AbortSignal,
): Promise<OpenJudge> {
  const { Endpoint } = await import("../endpoint/endpoint.js");
  const endpoint = await Endpoint.open(settings.endpoint, { seed: settings.seed, onRetry: log });
  const { openKept } = await import("./judge-files.js");
  const kept = await openKept(keep);
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
  return { endpoint, options: { ...asked, signal, known: kept.known, onAnswer } };
}

export function costText({ requests, promptTokens, completionTokens, cost }: Spent): string {
  const count = (n: number) => n.toLocaleString("en-US");
  const paid = cost > 0 ? `, cost ${cost.toFixed(4)}` : "";
  return `${count(requests)} requests, ${count(promptTokens)} tokens in, ${count(completionTokens)} out${paid}`;
}

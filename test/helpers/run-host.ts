// A host for runs in tests: a fresh folder, and every event kept.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { RunEvent } from "../../src/report/events.js";
import type { RunHost } from "../../src/train/run.js";
import { temporaryFolder } from "./temporary.js";

export interface TestHost extends RunHost {
  readonly events: RunEvent[];
  readonly controller: AbortController;
}

export function testHost(): TestHost {
  const events: RunEvent[] = [];
  const controller = new AbortController();
  const out = temporaryFolder("run");
  return { out, events, controller, signal: controller.signal, emit: (event) => events.push(event) };
}

/** The records of a jsonl file in a run folder. */
export function readLines(out: string, name: string): Record<string, unknown>[] {
  const text = readFileSync(join(out, name), "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

export function eventsOf<T extends RunEvent["type"]>(host: TestHost, type: T): Extract<RunEvent, { type: T }>[] {
  return host.events.filter((event): event is Extract<RunEvent, { type: T }> => event.type === type);
}

// What the tests of the recipes share: a model folder, data files, and what a run told and left.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TRIAL_VOCAB_SIZE, trialTokenizerFiles } from "../../src/tasks/countdown-trial.js";
import { FakeEngine, fakeSpec } from "./fake-engine.js";
import { eventsOf, type TestHost } from "./run-host.js";
import { temporaryFolder } from "./temporary.js";

/** The trial's end token. */
export const eos = 102;

export function tempFolder(): string {
  return temporaryFolder("recipe");
}

export function jsonl(...records: unknown[]): string {
  const path = join(tempFolder(), "data.jsonl");
  writeFileSync(path, records.map((record) => JSON.stringify(record)).join("\n"));
  return path;
}

/** A folder as the fake engine loads it, with the trial's tokenizer. */
export async function modelFolder(): Promise<string> {
  const folder = join(tempFolder(), "model");
  mkdirSync(folder);
  await new FakeEngine(fakeSpec(TRIAL_VOCAB_SIZE, eos)).save(folder);
  for (const [name, text] of Object.entries(trialTokenizerFiles(64))) writeFileSync(join(folder, name), text);
  return folder;
}

export const phases = (host: TestHost) => eventsOf(host, "phase").map((event) => event.name);
export const notes = (host: TestHost) => eventsOf(host, "note").map((event) => event.text);
export const summaryOf = (host: TestHost) => JSON.parse(readFileSync(join(host.out, "summary.json"), "utf8"));

// Fuzz of run folders: recipe.json, state.json with its checksum, the files that it vouches for. A checkpoint that is found is one whose
// state, written and read again, is the same, and whose place in the data can be gone on from.
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { findRun } from "../../src/cli/resume.js";
import { resolveSettings } from "../../src/config/resolve.js";
import { Mixture } from "../../src/data/mixture.js";
import type { Random } from "../../src/data/random.js";
import type { Json } from "../../src/data/resumable.js";
import { fingerprint } from "../../src/engine/fingerprint.js";
import { recipes } from "../../src/methods/index.js";
import { Checkpoints, findCheckpoint } from "../../src/train/checkpoint.js";
import { nodeDisk } from "../../src/train/disk.js";
import type { RunState } from "../../src/train/run-state.js";
import { FakeEngine, fakeSpec } from "../helpers/fake-engine.js";
import { temporaryFolder } from "../helpers/temporary.js";
import { fuzzTests } from "./define.js";
import { asJson, type Files, type Target } from "./fuzz.js";
import { damageBytes, mutateJsonFile, wordsOf } from "./mutate.js";
import { READERS } from "./readers.js";

const NAME = "checkpoints/step-000002";
const STATE = `${NAME}/state.json`;
const SUM = `${NAME}/state.json.sha256`;
const METRICS = "metrics.jsonl";
const lines = '{"step": 1}\n{"step": 2}\n';

const mixture = () =>
  new Mixture(
    [
      { records: ["a", "b", "c"], weight: 1 },
      { records: ["d"], weight: 2 },
    ],
    { seed: 1 },
  );
const engine = () => new FakeEngine(fakeSpec(2, 0));
const sft = recipes.find(({ name }) => name === "sft")!;

function stateOf(): Omit<RunState, "sha256"> {
  const config = resolveSettings(sft.name, sft.schema, {}) as Record<string, Json>;
  const place = mixture();
  place.next(4);
  return {
    ...{ version: 1, recipe: "sft", config, part: "sft", step: 2, trained: 2, seconds: 1.5, elapsed: 2, best: null },
    ...{ results: {}, loop: { source: place.save() }, sizes: { [METRICS]: lines.length }, fingerprint: fingerprint() },
  };
}

/** A run folder as a run leaves it: its files by their paths. */
async function makeSeed(): Promise<Record<string, Buffer>> {
  const run = temporaryFolder("run");
  writeFileSync(join(run, METRICS), lines);
  writeFileSync(join(run, "recipe.json"), JSON.stringify({ recipe: "sft", config: stateOf().config }));
  mkdirSync(join(run, "checkpoints"));
  await new Checkpoints(run, nodeDisk).write(engine(), () => {}, stateOf());
  const files = readdirSync(run, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(paths.map((path) => [path.slice(run.length + 1), readFileSync(path)]));
}

const sumOf = (state: Uint8Array): string => `${createHash("sha256").update(state).digest("hex")}  state.json\n`;

/** The seed with another state, whose checksum fits. */
const withState = (seed: Files, state: Buffer): Files => ({ ...seed, [STATE]: state, [SUM]: sumOf(state) });

function make(seed: Record<string, Buffer>, stream: Random): Files {
  const kind = stream.int(8);
  const json = (name: string) => JSON.parse(seed[name]!.toString()) as object;
  if (kind < 5) return withState(seed, mutateJsonFile(json(STATE), stream, wordsOf(json(STATE))));
  if (kind === 5)
    return { ...seed, "recipe.json": mutateJsonFile(json("recipe.json"), stream, wordsOf(json("recipe.json"))) };
  if (kind === 6) return withState(seed, Buffer.from(JSON.stringify({ ...json(STATE), seconds: stream.next() * 1e9 })));
  const name = stream.choice(Object.keys(seed));
  return { ...seed, [name]: damageBytes(seed[name]!, stream) };
}

async function read(folder: string): Promise<void> {
  const { checkpoint } = await findRun(recipes, folder, {});
  if (checkpoint === null) throw new Error("a run without its checkpoint");
  const { sha256: _, ...state } = checkpoint.state;
  goOn(state.loop);
  const out = join(folder, "out");
  mkdirSync(join(out, "checkpoints"), { recursive: true });
  cpSync(join(folder, METRICS), join(out, METRICS));
  await new Checkpoints(out, nodeDisk).write(engine(), () => {}, state);
  const { sha256: __, ...again } = (await findCheckpoint(out)).checkpoint!.state;
  if (!isDeepStrictEqual(again, asJson(state))) throw new Error(`a state that reads back as ${JSON.stringify(again)}`);
}

/** Goes on from the place in the data, as a loop does. */
function goOn(loop: Json): void {
  const place = mixture();
  place.restore((loop as { source?: Json } | null)?.source ?? null);
  if (place.next(9).some((record) => !"abcd".includes(record))) throw new Error("a place in the data without a record");
}

function targetOf(seed: Record<string, Buffer>): Target {
  const stated = (change: object) =>
    withState(seed, Buffer.from(JSON.stringify({ ...JSON.parse(seed[STATE]!.toString()), ...change })));
  const recipe = (content: unknown): Files => ({ ...seed, "recipe.json": JSON.stringify(content) });
  const { config } = stateOf();
  return {
    name: "checkpoint",
    inputs: { quick: 100, full: 3_000 },
    readers: READERS.checkpoint,
    elsewhere: { FILE_IO: "test/fuzz/config.test.ts" }, // looked for in what writing throws
    beneath: [...READERS.recipe, ...READERS.rows, "src/config/files.ts"],
    make: (stream) => make(seed, stream),
    read,
    directed: [
      ["RESUME_FOLDER", {}],
      ["RESUME_FOLDER", recipe({ recipe: 3 })],
      ["RESUME_FOLDER", { ...seed, "summary.json": "[" }],
      ["RESUME_DAMAGED", { ...seed, [SUM]: "x" }],
      ["RESUME_DAMAGED", stated({ version: 2 })],
      ["RESUME_INEXACT", stated({ fingerprint: {} })],
      ["RESUME_SETTING", stated({ config: { ...config, seed: 8 } })],
      ["RECIPE_UNKNOWN", recipe({ recipe: "x", config })],
      ["CURSOR_RANGE", stated({ loop: null })],
      ["CURSOR_RANGE", stated({ loop: { source: { seed: 1, draws: 4, sources: [1, {}] } } })],
    ],
  };
}

fuzzTests("checkpoint", async () => targetOf(await makeSeed()));

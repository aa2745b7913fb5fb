// Fuzz of weights and optimizer states: safetensors files of a small model, whole and in two files, with damaged headers and bytes. What
// loads is what an independent reader finds in the file, and two saves of it are the same byte for byte.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../src/data/random.js";
import { Engine } from "../../src/engine/engine.js";
import { floats, readSafetensors, writeSafetensors } from "../helpers/safetensors.js";
import { temporaryFolder } from "../helpers/temporary.js";
import { TINY_CONFIG, tinyTensors, writeTinyModel } from "../helpers/tiny-model.js";
import { fuzzTests } from "./define.js";
import { type Files, type Target, writeFiles } from "./fuzz.js";
import { mutateSafetensors, requireSame } from "./model-folders.js";
import { READERS } from "./readers.js";

const WEIGHTS = "model.safetensors";
const STATE = "optimizer.safetensors";
const FIRST = "model-00001-of-00002.safetensors";
const SECOND = "model-00002-of-00002.safetensors";
const INDEX = "model.safetensors.index.json";
const options = { threads: 1, trainable: false };

interface Seeds {
  readonly weights: Buffer;
  readonly state: Buffer;
  readonly parts: readonly [Buffer, Buffer];
  readonly config: string;
}

/** A small model as the engine writes it, its optimizer's state, and its tensors in two files. */
async function makeSeeds(): Promise<Seeds> {
  const folder = temporaryFolder("weights");
  await using engine = await Engine.load(writeTinyModel(folder), { threads: 1 });
  await engine.save(folder);
  await engine.saveState(folder);
  const bytes = (name: string) => readFileSync(join(folder, name));
  const all = [...tinyTensors()];
  writeSafetensors(join(folder, FIRST), all.slice(0, 9));
  writeSafetensors(join(folder, SECOND), all.slice(9));
  const parts = [bytes(FIRST), bytes(SECOND)] as const;
  return { weights: bytes(WEIGHTS), state: bytes(STATE), parts, config: JSON.stringify(TINY_CONFIG) };
}

function make(seeds: Seeds, stream: Random): Files {
  const { config, weights, state, parts } = seeds;
  const kind = stream.int(6);
  if (kind < 3) return { "config.json": config, [WEIGHTS]: mutateSafetensors(weights, stream) };
  if (kind < 5) return { "config.json": config, [WEIGHTS]: weights, [STATE]: mutateSafetensors(state, stream) };
  const first = mutateSafetensors(parts[0], stream);
  const index = JSON.stringify({ weight_map: { a: FIRST, b: SECOND } });
  return { "config.json": config, [INDEX]: index, [FIRST]: first, [SECOND]: parts[1] };
}

async function read(folder: string): Promise<void> {
  const [a, b] = ["a", "b"].map((name) => join(folder, name)) as [string, string];
  if (existsSync(join(folder, STATE))) return readState(folder, a, b);
  await saveAgain(folder, a);
  compareValues(folder, a);
  await saveAgain(a, b);
  requireSame(a, b, [WEIGHTS, "config.json", "generation_config.json"]);
}

async function saveAgain(from: string, to: string): Promise<void> {
  await using engine = await Engine.load(from, options);
  await engine.save(to);
}

async function readState(folder: string, a: string, b: string): Promise<void> {
  await using engine = await Engine.load(folder, { threads: 1 });
  await engine.loadState(folder);
  await engine.saveState(a);
  await engine.loadState(a);
  await engine.saveState(b);
  requireSame(a, b, [STATE]);
}

/** The numbers of the tensors that were saved are those of the files that were loaded. */
function compareValues(from: string, to: string): void {
  const files = [WEIGHTS, FIRST, SECOND].map((name) => join(from, name)).filter((path) => existsSync(path));
  const loaded = new Map(files.flatMap((path) => [...readSafetensors(path)]));
  for (const [name, { data }] of readSafetensors(join(to, WEIGHTS))) {
    const own = floats(loaded, name);
    if (!own.every((value, i) => Object.is(value, data[i])))
      throw new Error(`${name} that is saved with other numbers`);
  }
}

function targetOf(seeds: Seeds): Target {
  const { config, weights, state } = seeds;
  const replaced = (bytes: Buffer, from: string, to: string) =>
    Buffer.from(bytes.toString("latin1").replace(from, to), "latin1");
  const withWeights = (bytes: Uint8Array): Files => ({ "config.json": config, [WEIGHTS]: bytes });
  const withState = (bytes: Uint8Array): Files => ({ ...withWeights(weights), [STATE]: bytes });
  return {
    name: "weights",
    inputs: { quick: 400, full: 4_000 },
    readers: READERS.weights,
    elsewhere: { BAD_ARGUMENT: "test/native/safetensors_test.cc" },
    make: (stream) => make(seeds, stream),
    read,
    directed: [
      ["SAFETENSORS_HEADER", withWeights(replaced(weights, '{"__', '["__'))],
      ["SAFETENSORS_DTYPE", withWeights(replaced(weights, '"F32"', '"F31"'))],
      ["SAFETENSORS_DTYPE", withState(replaced(state, '"F32"', '"I32"'))],
      ["SAFETENSORS_OFFSETS", withWeights(replaced(weights, "[11,8]", "[11,9]"))],
      ["SAFETENSORS_METADATA", withState(replaced(state, '"step":"', '"stop":"'))],
      ["FILE_TRUNCATED", withWeights(weights.subarray(0, -1))],
      ["FILE_MISSING", { "config.json": config }],
      ["FILE_IO", { "config.json": config, [join(WEIGHTS, "x")]: "" }],
      ["FILE_IO", (folder) => saveOver(folder, withWeights(weights))],
      ["TENSOR_MISSING", withState(replaced(state, "exp_avg.model.norm", "exp_avg.model.nrom"))],
      ["TENSOR_SHAPE", withWeights(replaced(weights, "[11,8]", "[8,11]"))],
      ["TENSOR_UNEXPECTED", withWeights(replaced(weights, "model.norm", "model.nrom"))],
    ],
  };
}

/** A folder where the file should be put. */
async function saveOver(folder: string, files: Files): Promise<void> {
  writeFiles(folder, files);
  await using engine = await Engine.load(folder, options);
  mkdirSync(join(folder, "out", WEIGHTS), { recursive: true });
  await engine.save(join(folder, "out"));
}

fuzzTests("weights", async () => targetOf(await makeSeeds()));

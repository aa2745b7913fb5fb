// Seconds of a checkpoint: what a run waits for while one is written, all files on the disk, and what a resumed run waits for until it is
// checked and loaded; beside them a plain write and fsync of as many bytes in one file. Random weights. Needs `npm run build`.
// node bench/checkpoint.mjs [--shape 1m|trial] [--rounds N] [--folder DIR] [--json FILE]
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Engine } from "../dist/engine/engine.js";
import { fingerprint } from "../dist/engine/fingerprint.js";
import { Checkpoints, checkpointModel, findCheckpoint, listCheckpoints } from "../dist/train/checkpoint.js";
import { nodeDisk } from "../dist/train/disk.js";
import { check, commit, finish, machine, median, printTable } from "./support.mjs";

const BASE = { ropeTheta: 10_000, rmsNormEps: 1e-5, bosTokenId: null, eosTokenIds: [0], maxPositions: 256 };
const SHAPES = {
  "1m": {
    ...BASE,
    hiddenSize: 128,
    layers: 5,
    heads: 8,
    kvHeads: 4,
    headDim: 16,
    intermediateSize: 352,
    vocabSize: 105,
    tieWordEmbeddings: true,
  },
  trial: {
    ...BASE,
    hiddenSize: 96,
    layers: 3,
    heads: 3,
    kvHeads: 3,
    headDim: 32,
    intermediateSize: 256,
    vocabSize: 121,
    tieWordEmbeddings: false,
  },
};
const { values: flags } = parseArgs({
  options: {
    shape: { type: "string", default: "1m" },
    rounds: { type: "string", default: "15" },
    folder: { type: "string", default: tmpdir() },
    json: { type: "string" },
  },
});
check(SHAPES[flags.shape], `--shape: expected one of ${Object.keys(SHAPES).join(", ")}, got ${flags.shape}`);

const run = mkdtempSync(join(flags.folder, "zazen-bench-"));
const engine = await Engine.create(SHAPES[flags.shape], { seed: 1 });
const store = new Checkpoints(run, nodeDisk);

async function seconds(act) {
  const began = performance.now();
  await act();
  return (performance.now() - began) / 1000;
}

const state = (trained) => ({
  version: 1,
  recipe: "bench",
  config: {},
  part: "bench",
  step: trained,
  trained,
  seconds: 0,
  elapsed: 0,
  results: {},
  loop: null,
  best: null,
  sizes: {},
  fingerprint: fingerprint(),
});

async function write(trained) {
  await store.write(engine, () => {}, state(trained));
  store.prune(2, null);
}

function plain(bytes) {
  const path = join(run, "plain");
  const file = openSync(path, "w");
  writeSync(file, Buffer.alloc(bytes, 1));
  fsyncSync(file);
  closeSync(file);
  rmSync(path);
}

async function load() {
  const { checkpoint } = await findCheckpoint(run);
  const resumed = await Engine.load(checkpointModel(checkpoint.path));
  await resumed.loadState(checkpoint.path);
  await resumed.dispose();
}

await write(1);
const bytes = ["optimizer.safetensors", "model/model.safetensors"]
  .map((name) => statSync(join(listCheckpoints(run)[0].path, name)).size)
  .reduce((sum, size) => sum + size, 0);
const times = { write: [], plain: [], load: [] };
for (let round = 2; round <= 1 + Number(flags.rounds); round++) {
  times.write.push(await seconds(() => write(round)));
  times.plain.push(await seconds(() => plain(bytes)));
  times.load.push(await seconds(load));
}
await engine.dispose();
rmSync(run, { recursive: true });

const result = {
  bench: "checkpoint",
  commit: commit(),
  machine: machine(),
  shape: flags.shape,
  parameters: engine.parameters,
  bytes,
  rounds: times.write.length,
  seconds: Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all)])),
  worst: Object.fromEntries(Object.entries(times).map(([name, all]) => [name, Math.max(...all)])),
};
printTable(
  ["", "median ms", "worst ms"],
  Object.keys(times).map((name) => [
    name,
    (1e3 * result.seconds[name]).toFixed(1),
    (1e3 * result.worst[name]).toFixed(1),
  ]),
);
finish(result, flags.json);

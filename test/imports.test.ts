// The house has rooms, and this test keeps their doors: who may import whom in src, who may include whom in native, that only src/engine
// touches the addon, and that only src/endpoint asks endpoints. The checks are text searches for import and include lines; no module is resolved or run.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

type Sources = ReadonlyMap<string, string>; // path from the scanned folder -> text
type Doors = Readonly<Record<string, readonly string[]>>;

const base = ["errors", "config"];
const roomsOfRollout = ["engine", "tasks", "prompt", "objective", ...base];
const roomsOfReward = ["endpoint", "data", ...roomsOfRollout];
const roomsOfEval = ["rollout", "reward", ...roomsOfReward];
const roomsOfTrain = ["eval", ...roomsOfEval];
const everyRoom = ["train", "methods", "report", "cli", ...roomsOfTrain];

/** Whom a room under src may import, itself aside. */
const doors: Doors = {
  errors: [],
  config: ["errors"],
  report: [],
  objective: base,
  prompt: base,
  data: base,
  engine: base,
  tasks: ["prompt", "data", ...base],
  endpoint: ["prompt", "data", ...base], // a room of its own: teachers of methods and judges of reward ask it, and it knows neither
  rollout: roomsOfRollout,
  reward: roomsOfReward,
  eval: roomsOfEval,
  train: roomsOfTrain,
  methods: ["train", ...roomsOfTrain],
  cli: everyRoom,
  index: everyRoom,
  kernels: everyRoom,
  rewards: everyRoom,
};

/** Rooms that may read the types of report/events.ts. */
const eventReaders = ["train", "methods"];

const nativeDoors: Doors = {
  core: [],
  kernels: ["core"],
  model: ["core", "kernels"],
  runtime: ["core", "kernels", "model"],
  binding: ["core", "kernels", "model", "runtime"],
};

const importLine = /^\s*(import|export)\s+(type\s+)?(?:[^'";]*?\bfrom\s*)?["']([^"']+)["']/gm;
const importCall = /\bimport\(\s*["']([^"']+)["']/g;
const addonTouch = /\bdlopen\b|["'`][^"'`\n]*\.node["'`]|build\/Release/;
const builder = "cli/setup.mjs"; // builds the addon and looks whether it is there, but cannot load it: no require, no dlopen

interface Import {
  readonly path: string;
  readonly typeOnly: boolean;
}

function importsOf(source: string): readonly Import[] {
  const lines = [...source.matchAll(importLine)].map((m) => ({ path: m[3] ?? "", typeOnly: m[2] !== undefined }));
  const calls = [...source.matchAll(importCall)].map((m) => ({ path: m[1] ?? "", typeOnly: false }));
  return [...lines, ...calls];
}

/** "engine" for engine/types.ts, "errors" for errors.ts. */
const roomOf = (path: string): string => (path.includes("/") ? path : path.replace(/\.\w+$/, "")).split("/")[0] ?? "";

function isAllowed(from: string, target: string, typeOnly: boolean): boolean {
  const room = roomOf(target);
  if (room === from || (doors[from] ?? []).includes(room)) return true;
  return typeOnly && target === "report/events.js" && eventReaders.includes(from);
}

/** Every breach of the rules of src, one line each. */
function breaches(sources: Sources): readonly string[] {
  return [...sources].flatMap(([path, source]) => {
    const from = roomOf(path);
    if (doors[from] === undefined) return [`${path}: no such room in src`];
    const own = importsOf(source).filter((each) => each.path.startsWith("."));
    const wrong = own
      .map((each) => ({ target: join(dirname(path), each.path), typeOnly: each.typeOnly }))
      .filter(({ target, typeOnly }) => !isAllowed(from, target, typeOnly))
      .map(({ target }) => `${path}: ${from} may not import ${target}`);
    const touch =
      from !== "engine" && path !== builder && addonTouch.test(source) ? [`${path}: only engine loads the addon`] : [];
    const asks = from !== "endpoint" && importsOf(source).some((each) => each.path === "openai");
    return [...wrong, ...touch, ...(asks ? [`${path}: only endpoint asks endpoints`] : [])];
  });
}

/** Every breach of the rules of native, one line each. */
function nativeBreaches(sources: Sources): readonly string[] {
  return [...sources].flatMap(([path, source]) => {
    const from = roomOf(path);
    const allowed = nativeDoors[from];
    if (allowed === undefined) return [`${path}: no such room in native`];
    const includes = [...source.matchAll(/^\s*#\s*include\s*["<]([^">]+)[">]/gm)].map((match) => match[1] ?? "");
    return includes.flatMap((target) => {
      if (target === "napi.h" || target.startsWith("node_api") || target.startsWith("js_native_api")) {
        return from === "binding" ? [] : [`${path}: only binding includes ${target}`];
      }
      const room = target.startsWith(".") ? roomOf(join(dirname(path), target)) : roomOf(target);
      const foreign = !target.includes("/") || nativeDoors[room] === undefined;
      return foreign || room === from || allowed.includes(room) ? [] : [`${path}: ${from} may not include ${target}`];
    });
  });
}

function read(folder: string, ending: RegExp): Sources {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = files
    .filter((file) => file.isFile() && ending.test(file.name))
    .map((file) => join(file.parentPath, file.name));
  return new Map(paths.map((path) => [relative(folder, path), readFileSync(path, "utf8")]));
}

const sources = read(join(root, "src"), /\.(ts|mjs|js|tsx)$/);
const nativeSources = read(join(root, "native"), /\.(cc|h|cu|cuh|inc)$/);

describe("src", () => {
  test("was found", () => expect(sources.size).toBeGreaterThan(20));

  test("every import goes through a door, and only engine loads the addon", () =>
    expect(breaches(sources)).toEqual([]));

  test("the setup script runs before anything is installed", () => {
    const imports = importsOf(sources.get(builder) ?? "").map(({ path }) => path);
    expect(imports.length).toBeGreaterThan(0);
    expect(imports.filter((path) => !path.startsWith("node:") || path === "node:module")).toEqual([]);
    expect(sources.get(builder)).not.toContain("dlopen");
  });
});

describe("native", () => {
  test("was found", () => expect(nativeSources.size).toBeGreaterThan(5));

  test("every include goes downwards, and only binding knows Node", () =>
    expect(nativeBreaches(nativeSources)).toEqual([]));
});

describe("the checks see planted faults", () => {
  test.each([
    ["config/a.ts", 'import { Engine } from "../engine/engine.js";', "config may not import engine/engine.js"],
    ["objective/a.ts", 'export * from "../train/run.js";', "objective may not import train/run.js"],
    ["tasks/deep/a.ts", 'import {\n  one,\n  two,\n} from "../../rollout/x.js";', "tasks may not import rollout/x.js"],
    ["rollout/a.ts", 'const x = await import("../methods/index.js");', "rollout may not import methods/index.js"],
    ["report/a.ts", 'import type { X } from "../engine/types.js";', "report may not import engine/types.js"],
    ["train/a.ts", 'import { x } from "../report/events.js";', "train may not import report/events.js"],
    ["engine/a.ts", 'import "../prompt/x.js";', "engine may not import prompt/x.js"],
    ["reward/a.ts", 'import { x } from "../rollout/x.js";', "reward may not import rollout/x.js"],
    ["methods/a.ts", 'import { x } from "../cli/output.js";', "methods may not import cli/output.js"],
    ["errors.ts", 'import { x } from "./config/x.js";', "errors may not import config/x.js"],
    ["misc/a.ts", "", "no such room in src"],
    ["helpers.ts", "", "no such room in src"],
    ["cli/a.ts", 'createRequire(import.meta.url)("../../build/Release/zazen");', "only engine loads the addon"],
    ["data/a.ts", 'const addon = require("./zazen.node");', "only engine loads the addon"],
    ["train/a.ts", 'process.dlopen(module, "zazen.node");', "only engine loads the addon"],
    ["endpoint/a.ts", 'import { x } from "../reward/x.js";', "endpoint may not import reward/x.js"],
    ["reward/a.ts", 'const { OpenAI } = await import("openai");', "only endpoint asks endpoints"],
  ])("%s: %s", (path, source, message) => {
    expect(breaches(new Map([[path, source]]))).toEqual([`${path}: ${message}`]);
  });

  test.each([
    ["train/a.ts", 'import type { RunEvent } from "../report/events.js";'],
    ["methods/a.ts", 'import type { RunEvent } from "../report/events.js";'],
    ["engine/addon.ts", 'createRequire(import.meta.url)("../../build/Release/zazen.node");'],
    ["tasks/deep/a.ts", 'import { x } from "../task.js"; import { z } from "zod";'],
    ["index.ts", 'export { Engine } from "./engine/engine.js";'],
    ["config/a.ts", '// not an import: see "../engine/engine.js"'],
  ])("%s may: %s", (path, source) => expect(breaches(new Map([[path, source]]))).toEqual([]));

  test.each([
    ["core/a.h", '#include "kernels/kernels.h"', "core may not include kernels/kernels.h"],
    ["kernels/cpu/a.cc", '#include "../../model/model.h"', "kernels may not include ../../model/model.h"],
    ["model/a.cc", '#include "runtime/sampler.h"', "model may not include runtime/sampler.h"],
    ["runtime/a.cc", "#include <napi.h>", "only binding includes napi.h"],
    ["extras/a.cc", "", "no such room in native"],
  ])("%s: %s", (path, source, message) => {
    expect(nativeBreaches(new Map([[path, source]]))).toEqual([`${path}: ${message}`]);
  });

  test("native code may include downwards, its own room and the standard library", () => {
    const source =
      '#include <vector>\n#include <sys/mman.h>\n#include "kernels/cpu/ops.h"\n#include "core/check.h"\n#include "ops.h"';
    expect(nativeBreaches(new Map([["kernels/cpu/a.cc", source]]))).toEqual([]);
    expect(nativeBreaches(new Map([["binding/a.cc", "#include <napi.h>"]]))).toEqual([]);
  });
});

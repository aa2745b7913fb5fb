// Law 5 on the engine, with processes that are killed: SIGKILL at random moments, while they start, train, write a checkpoint or are being
// resumed, and at the very writes of a checkpoint. What is left in the end is what the run leaves that nobody killed.
// ZAZEN_KILLS=20 kills each run twenty times.
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Random, random } from "../../src/data/random.js";
import { listCheckpoints } from "../../src/train/checkpoint.js";
import { cliIsBuilt, dist, json, main } from "../cli/process.js";
import { remains } from "../helpers/crash.js";

const kills = Number(process.env.ZAZEN_KILLS ?? 2);

/** When a process is killed. */
interface Moment {
  /** Lines of metrics.jsonl. */
  readonly lines: number;
  /** Milliseconds behind the last of them. */
  readonly delay: number;
}

const small = ["scratch.width=24", "scratch.mlp=32", "scratch.layers=2", "scratch.maxPositions=160"];
const sftSets = [...small, "sft.steps=40", "sft.tokensPerStep=300", "checkpoint.every=3", "evaluation.every=10"];
const rlvrSets = [
  "task=countdown-trial",
  "grpo.steps=24",
  "grpo.prompts=4",
  "grpo.samplesPerPrompt=4",
  "grpo.sampling.maxTokens=24",
  "grpo.loss.klCoefficient=0.01",
  "grpo.optimizer.learningRate=1e-3",
  "evaluation.problems=16",
  "evaluation.every=6",
  "checkpoint.every=2",
];
const flags = (sets: readonly string[]) => sets.flatMap((set) => ["--set", set]);

describe.skipIf(!cliIsBuilt)("killed", { timeout: 60_000 + kills * 30_000 }, () => {
  let folder: string;
  let commands: Record<string, readonly string[]>;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "zazen-kill-"));
    json(["train", "sft", ...flags(small), "--set", "sft.steps=2", "--out", join(folder, "warm")]);
    const model = join(folder, "warm", "model");
    commands = {
      sft: ["train", "sft", ...flags(sftSets)],
      rlvr: ["train", "rlvr", "--set", `model=${model}`, ...flags(rlvrSets)],
    };
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const linesOf = (out: string): number => {
    const path = join(out, "metrics.jsonl");
    return existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0;
  };

  /** Runs the command line, and kills it `delay` ms after metrics.jsonl has come to `lines`; true where it ended before. */
  function outlives(args: readonly string[], out: string, { lines, delay }: Moment): Promise<boolean> {
    const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let told = "";
    child.stderr.on("data", (text) => {
      told += String(text);
    });
    const poll = setInterval(() => {
      if (linesOf(out) < lines) return;
      clearInterval(poll);
      setTimeout(() => child.kill("SIGKILL"), delay);
    }, 1);
    return new Promise((resolve, reject) => {
      child.on("close", (code, signal) => {
        clearInterval(poll);
        if (code === 0) resolve(true);
        else if (signal === "SIGKILL") resolve(false);
        else reject(new Error(`ended with ${code}: ${told}`));
      });
    });
  }

  describe.each(["sft", "rlvr"])("%s", (recipe) => {
    let whole: Record<string, unknown>;
    let lines: number;
    beforeAll(() => {
      const out = join(folder, `${recipe} whole`);
      json([...commands[recipe]!, "--out", out]);
      whole = remains(out);
      lines = linesOf(out);
    });

    /** A moment after `from` lines; now and then one before there are any. */
    const momentAfter = (stream: Random, from: number): Moment => {
      const early = stream.next() < 0.15;
      return early
        ? { lines: 0, delay: stream.int(900) }
        : { lines: from + stream.int(lines - from), delay: stream.int(40) };
    };
    const command = (out: string) =>
      existsSync(join(out, "recipe.json")) ? ["train", "--resume", out] : [...commands[recipe]!, "--out", out];

    test(`at ${kills} random moments, each in a run of its own, with other threads after it`, async () => {
      const stream = random(kills, 1);
      for (let kill = 0; kill < kills; kill++) {
        const out = join(folder, `${recipe} ${kill}`);
        const moment = momentAfter(stream, 0);
        await outlives([...commands[recipe]!, "--out", out], out, moment);
        json([...command(out), "--set", `threads=${1 + (kill % 3)}`]);
        expect(remains(out), JSON.stringify(moment)).toEqual(whole);
      }
    });

    test("again and again in one run, so that it is killed while it resumes too", async () => {
      const out = join(folder, `${recipe} often`);
      const stream = random(kills, 2);
      let killed = 0;
      for (let kill = 0; kill < kills; kill++) {
        const moment = momentAfter(stream, Math.min(linesOf(out), lines - 1));
        if (!(await outlives(command(out), out, moment))) killed++;
      }
      json(command(out));
      expect(killed).toBeGreaterThan(0);
      expect(remains(out)).toEqual(whole);
    });
  });

  /** Runs a recipe on a disk that kills its process when `verb` is asked for on `place`, a part of the path, the `nth` time. */
  const suicidal = (verb: string, place: string, nth: number) => `
    import { Engine } from "${dist}/engine/engine.js";
    import { resolveSettings } from "${dist}/config/resolve.js";
    import { makeSft } from "${dist}/methods/sft.js";
    import { nodeDisk } from "${dist}/train/disk.js";
    import { writeFileSync } from "node:fs";
    const [out, settings] = process.argv.slice(2);
    let left = ${nth};
    const disk = Object.fromEntries(Object.entries(nodeDisk).map(([verb, act]) => [verb, (path, more) => {
      if (verb !== "${verb}" || !path.includes("${place}") || --left > 0) return act(path, more);
      if (verb === "write") writeFileSync(path, more.slice(0, more.length / 2));
      process.kill(process.pid, "SIGKILL");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // until it has come
    }]));
    const recipe = makeSft(Engine);
    const config = resolveSettings("sft", recipe.schema, JSON.parse(settings));
    await recipe.run(config, { out, disk, signal: new AbortController().signal, emit: () => {} });
  `;
  const nested = {
    scratch: { width: 24, mlp: 32, layers: 2, maxPositions: 160 },
    sft: { steps: 40, tokensPerStep: 300 },
    checkpoint: { every: 3 },
    evaluation: { every: 10 },
  };

  test.each([
    ["half of the recipe is written", "write", "recipe.json.part"],
    ["a checkpoint begins", "makeFolder", "step-000006.part"],
    ["weights and moments are written, and half of the state", "write", "step-000006.part/state.json"],
    ["half of the state's checksum is written", "write", "step-000006.part/state.json.sha256"],
    ["its weights go to the disk", "sync", "step-000006.part/model/model.safetensors"],
    ["it gets its name", "rename", "step-000006.part"],
    ["the best one is marked", "link", "step-000010"],
    ["an old one is to be removed", "rename", "step-000003"],
    ["an old one is being removed", "remove", "step-000003.part", 2], // first, it makes room for a new one
  ] as [string, string, string, number?][])("when %s", async (_, verb, place, nth = 1) => {
    const out = mkdtempSync(join(folder, "at-"));
    const script = join(dist, `.kill-test-${process.pid}.mjs`); // beside node_modules, which it imports from
    writeFileSync(script, suicidal(verb, place, nth));
    const child = spawn(process.execPath, [script, out, JSON.stringify(nested)], { stdio: "inherit" });
    const signal = await new Promise((resolve) => child.on("close", (_code, by) => resolve(by)));
    rmSync(script);
    expect(signal).toBe("SIGKILL");
    const begun = existsSync(join(out, "recipe.json"));
    if (!begun) rmSync(out, { recursive: true }); // there is nothing to resume, and --out wants an empty folder
    json(begun ? ["train", "--resume", out] : [...commands.sft!, "--out", out]);
    expect(remains(out)).toEqual(remains(join(folder, "sft whole")));
  });

  test("the comparison sees a bit of a moment and a line", () => {
    const out = join(folder, "sft 0");
    const left = remains(out);
    const moments = join(listCheckpoints(out)[0]!.path, "optimizer.safetensors");
    const bytes = readFileSync(moments);
    bytes[bytes.length - 9]! ^= 1;
    writeFileSync(moments, bytes);
    expect(remains(out).files).not.toEqual(left.files);
    appendFileSync(join(out, "metrics.jsonl"), '{"phase":"sft"}\n');
    expect(remains(out).metrics).not.toEqual(left.metrics);
  });
});

// Law 5 on table models: a run whose disk dies at any of its writes, and which is resumed, leaves what the run leaves that was not
// stopped: every line, weight, moment and cursor. Then the same for a stop on request, for damaged checkpoints, and for a full disk.
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import { makeQuickstart } from "../../src/methods/quickstart.js";
import type { Recipe } from "../../src/methods/recipe.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { makeSft } from "../../src/methods/sft.js";
import { Checkpoints, findCheckpoint, listCheckpoints } from "../../src/train/checkpoint.js";
import { type Disk, nodeDisk } from "../../src/train/disk.js";
import type { RunHost } from "../../src/train/run.js";
import { type Cut, forgetfulDisk, mortalDisk, PowerCut, remains, resuming } from "../helpers/crash.js";
import { oddInit, smallSpec } from "../helpers/engine.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { jsonl, modelFolder, notes } from "../helpers/recipes.js";
import { readLines, testHost } from "../helpers/run-host.js";

/** Writes from one that the disk dies at to the next: ZAZEN_ALL_CUTS=1 tries every one. */
const stride = process.env.ZAZEN_ALL_CUTS === "1" ? 1 : 8;
/** The same for a loss of power: what was never put on the disk is missed at any later one. */
const powerStride = stride === 1 ? 1 : 23;

interface Case {
  readonly recipe: Recipe<never>;
  readonly settings: Settings;
}

let cases: Record<string, Case>;
beforeAll(async () => {
  const model = await modelFolder();
  const demonstrations = jsonl(...[1, 2, 3, 4, 5].map((n) => ({ prompt: `<q> ${n}`, completion: `${n} + ${n}` })));
  const problems = jsonl(...[2, 3, 4, 5, 6].map((n) => ({ numbers: [n, 1], target: n + 1 })));
  const grpo = {
    steps: 5,
    prompts: 3,
    samplesPerPrompt: 3,
    sampling: { maxTokens: 6 },
    optimizer: { learningRate: 0.05 },
  };
  cases = {
    "sft on a file": {
      recipe: makeSft(new FakeSource()) as Recipe<never>,
      settings: {
        model,
        data: demonstrations,
        sft: { steps: 7, tokensPerStep: 14 },
        evaluation: { every: 2, data: demonstrations },
        checkpoint: { every: 3, keep: 1 },
      },
    },
    "sft on the built-in trial": {
      recipe: makeSft(new FakeSource()) as Recipe<never>,
      settings: { scratch: { maxPositions: 96 }, sft: { steps: 5, tokensPerStep: 100 }, checkpoint: { every: 2 } },
    },
    "rlvr on a file, with a reference": {
      recipe: makeRlvr(new FakeSource()) as Recipe<never>,
      settings: {
        model,
        data: problems,
        format: "zero-plain",
        question: "{numbers} {target}",
        grpo: { ...grpo, loss: { klCoefficient: 0.1 } },
        evaluation: { data: problems, every: 2 },
        checkpoint: { every: 2 },
      },
    },
    quickstart: {
      recipe: makeQuickstart(new FakeSource()) as Recipe<never>,
      settings: {
        model: { maxPositions: 96 },
        sft: { steps: 3, tokensPerStep: 100 },
        grpo: { ...grpo, steps: 3 },
        evaluation: { problems: 4, minimumPass: 0 },
        checkpoint: { every: 2, seconds: 0 },
      },
    },
  };
});
const names = ["sft on a file", "sft on the built-in trial", "rlvr on a file, with a reference", "quickstart"];

async function run(name: string, host: RunHost, change: Settings = {}): Promise<void> {
  const { recipe, settings } = cases[name]!;
  await recipe.run(resolveSettings(recipe.name, recipe.schema, { ...settings, ...change }), host);
}

/** What the run leaves that nothing stops, and the writes it asks for. */
async function whole(name: string) {
  const host = testHost();
  const disk = mortalDisk(null);
  await run(name, { ...host, disk });
  return { left: remains(host.out), writes: disk.writes };
}

/** Runs until the disk dies, once for each cut, and then to the end. */
async function interrupted(name: string, cuts: readonly Cut[]): Promise<Record<string, unknown>> {
  const host = testHost();
  for (const [place, cut] of cuts.entries()) {
    const disk = mortalDisk(cut);
    const running = run(name, place === 0 ? { ...host, disk } : await resuming(host, disk));
    await running.catch((error: unknown) => {
      if (!(error instanceof PowerCut)) throw error;
    });
  }
  if (!existsSync(join(host.out, "summary.json"))) {
    // Before recipe.json there is no run to resume.
    await run(name, existsSync(join(host.out, "recipe.json")) ? await resuming(host) : host);
  }
  return remains(host.out);
}

describe.each(names)("%s", (name) => {
  test("two runs that nothing stops leave the same", async () => {
    expect((await whole(name)).left).toEqual((await whole(name)).left);
  });

  test("killed before and within every write, then resumed", async () => {
    const { left, writes } = await whole(name);
    expect(writes.length).toBeGreaterThan(40);
    for (let at = 1; at <= writes.length; at += stride) {
      for (const half of [false, true]) {
        if (half && !/^(write|remove)/.test(writes[at - 1]!)) continue;
        expect(await interrupted(name, [{ at, half }]), `${writes[at - 1]}, half ${half}`).toEqual(left);
      }
    }
  });

  test("killed, killed again while it is resumed, and then resumed", async () => {
    const { left, writes } = await whole(name);
    for (let at = 3; at <= writes.length; at += 7 * stride) {
      for (const again of [1, 2, 4, 5, 6, 9, 30]) {
        const cuts = [
          { at, half: true },
          { at: again, half: at % 2 === 0 },
        ];
        expect(await interrupted(name, cuts), `${at} then ${again}`).toEqual(left);
      }
    }
  });
});

/** Training steps at the last checkpoint that was whole on the disk after these writes. */
function savedBy(writes: readonly string[]): number {
  const named = writes.findLastIndex((write, i) => /^rename .*\/step-\d+\.part$/.test(write) && i + 2 < writes.length);
  return named < 0 ? 0 : Number(/step-(\d+)\.part$/.exec(writes[named]!)![1]);
}

describe.each(names)("%s, when the machine loses its power", (name) => {
  test("has every checkpoint that it saved, and leaves the same after it is resumed", async () => {
    const { left, writes } = await whole(name);
    let most = 0;
    for (let at = 1; at <= writes.length; at += powerStride) {
      const host = testHost();
      const disk = forgetfulDisk(host.out, at);
      await expect(run(name, { ...host, disk }), `write ${at}`).rejects.toThrow(PowerCut);
      const saved = savedBy(writes.slice(0, at - 1));
      const { checkpoint, damaged } = await findCheckpoint(host.out);
      expect(checkpoint?.state.trained ?? 0, writes[at - 1]).toBeGreaterThanOrEqual(saved);
      expect(damaged, writes[at - 1]).toEqual([]);
      most = Math.max(most, saved);
      const begun = existsSync(join(host.out, "recipe.json"));
      if (!existsSync(join(host.out, "summary.json"))) await run(name, begun ? await resuming(host) : host);
      expect(remains(host.out), writes[at - 1]).toEqual(left);
    }
    expect(most).toBeGreaterThan(2);
  });

  test("has all of itself once it is finished", async () => {
    const host = testHost();
    const disk = forgetfulDisk(host.out, Number.POSITIVE_INFINITY);
    await run(name, { ...host, disk });
    const left = remains(host.out);
    disk.lose();
    expect(remains(host.out)).toEqual(left);
  });
});

describe("a stop on request", () => {
  test("the step in hand is finished and saved, and the resumed run is the one that was not stopped", async () => {
    const { left } = await whole("rlvr on a file, with a reference");
    const host = testHost();
    const emit: RunHost["emit"] = (event) => {
      host.emit(event);
      if (event.type === "step" && event.phase === "grpo" && event.step === 3) host.controller.abort(new Error("stop"));
    };
    await expect(run("rlvr on a file, with a reference", { ...host, emit })).rejects.toThrow("stop");
    expect(listCheckpoints(host.out)[0]!.trained).toBe(3);
    await run("rlvr on a file, with a reference", await resuming({ ...testHost(), out: host.out }));
    expect({ ...remains(host.out), checkpoints: [] }).toEqual({ ...left, checkpoints: [] });
  });

  test("without checkpoints the run ends after the step, and saves nothing", async () => {
    const host = testHost();
    const emit: RunHost["emit"] = (event) => {
      host.emit(event);
      if (event.type === "step" && event.step === 1) host.controller.abort(new Error("stop"));
    };
    const off = { checkpoint: { every: 0 } };
    await expect(run("sft on the built-in trial", { ...host, emit }, off)).rejects.toThrow("stop");
    expect(readLines(host.out, "metrics.jsonl")).toHaveLength(1);
    expect(existsSync(join(host.out, "checkpoints"))).toBe(false);
  });
});

/** The checkpoint that was written `ago` before the last. */
const lastOf = (out: string, ago = 0): string => listCheckpoints(out)[ago]!.path;

/** A finished run with checkpoints at 5 and 4. */
async function finished(): Promise<string> {
  const host = testHost();
  await run("sft on the built-in trial", host);
  return host.out;
}

describe("a damaged checkpoint", () => {
  const files = [
    "state.json",
    "state.json.sha256",
    "moments.json",
    "model/table.json",
    "model/tokenizer.json",
    "model/tokenizer_config.json",
  ];

  test("has these files", async () => {
    const path = lastOf(await finished());
    const listed = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    expect(listed.map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1)).sort()).toEqual(
      [...files].sort(),
    );
  });

  const harms: Record<string, (path: string) => void> = {
    "with a flipped bit": (path) => {
      const bytes = readFileSync(path);
      bytes[Math.floor(bytes.length / 3)]! ^= 4;
      writeFileSync(path, bytes);
    },
    "cut short by a byte": (path) => truncateSync(path, readFileSync(path).length - 1),
    "cut to nothing": (path) => truncateSync(path, 0),
    "a byte too long": (path) => appendFileSync(path, " "),
    missing: (path) => rmSync(path),
    "a folder": (path) => {
      rmSync(path);
      mkdirSync(path);
    },
  };

  describe.each(Object.keys(harms))("%s", (harm) => {
    test.each(files)("%s: the one before it is used, with the reason", async (file) => {
      const out = await finished();
      const [last, before] = [lastOf(out), lastOf(out, 1)];
      harms[harm]!(join(last, file));
      const { checkpoint, damaged } = await findCheckpoint(out);
      expect(checkpoint?.path).toBe(before);
      expect(damaged).toEqual([
        expect.stringMatching(new RegExp(`^${last}: ${file.startsWith("state") ? "state.json" : file}`)),
      ]);
    });
  });

  test("every bit of state.json counts", async () => {
    const out = await finished();
    const path = join(listCheckpoints(out)[0]!.path, "state.json");
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at += 17) {
      const harmed = Buffer.from(bytes);
      harmed[at]! ^= 1 << (at % 8);
      writeFileSync(path, harmed);
      expect((await findCheckpoint(out)).damaged).toHaveLength(1);
    }
  });

  test("the run goes on from the one before it to the same end, and sets the damaged one aside", async () => {
    const { left } = await whole("sft on the built-in trial");
    const out = await finished();
    truncateSync(join(listCheckpoints(out)[0]!.path, "moments.json"), 9);
    await run("sft on the built-in trial", await resuming({ ...testHost(), out }));
    expect(remains(out)).toEqual(left);
    expect(readdirSync(join(out, "checkpoints"))).toContain("damaged-step-000005");
  });

  test("is one whose lines are gone from metrics.jsonl", async () => {
    const out = await finished();
    truncateSync(join(out, "metrics.jsonl"), readFileSync(join(out, "metrics.jsonl")).length - 1);
    const { checkpoint, damaged } = await findCheckpoint(out);
    expect(checkpoint?.state.trained).toBe(4);
    expect(damaged[0]).toMatch(/step-000005: it goes with \d+ bytes of metrics\.jsonl, which has \d+$/);
  });

  test("names of files that lead out of it are refused", async () => {
    const out = await finished();
    const path = lastOf(out);
    const state = JSON.parse(readFileSync(join(path, "state.json"), "utf8"));
    const text = `${JSON.stringify({ ...state, sha256: { "../../secret": "0".repeat(64) } }, null, 1)}\n`;
    writeFileSync(join(path, "state.json"), text);
    const { createHash } = await import("node:crypto");
    writeFileSync(join(path, "state.json.sha256"), `${createHash("sha256").update(text).digest("hex")}  state.json\n`);
    expect((await findCheckpoint(out)).damaged[0]).toMatch(/state\.json is of another kind: sha256/);
  });
});

describe("a disk that refuses", () => {
  /** Refuses writes of state.json from the second checkpoint on. */
  const refusing = (code: string): Disk => ({
    ...nodeDisk,
    write: (path, content) => {
      if (/step-00000[4-9].*state\.json$/.test(path)) {
        throw Object.assign(new Error(`${code}: no`), { code, errno: -28 });
      }
      nodeDisk.write(path, content);
    },
  });

  test("is a typed error with what to do; checkpoints and lines stay, and the run can go on", async () => {
    const { left } = await whole("sft on the built-in trial");
    const host = testHost();
    await expect(run("sft on the built-in trial", { ...host, disk: refusing("ENOSPC") })).rejects.toMatchObject({
      name: "ZazenError",
      code: "DISK",
      message: expect.stringMatching(/step-000004\] expected to write, got ENOSPC: no; free some disk space$/),
    });
    expect(readdirSync(join(host.out, "checkpoints"))).toEqual(["step-000002"]); // what was half written is gone
    expect(readLines(host.out, "metrics.jsonl")).toHaveLength(4);
    await run("sft on the built-in trial", await resuming(host));
    expect(remains(host.out)).toEqual(left);
  });

  test("so is one that refuses the engine", async () => {
    const out = testHost().out;
    const tokenizer = (model: string) =>
      mkdirSync(join(model, "..", "optimizer.safetensors", "x"), { recursive: true });
    await using engine = await Engine.create(smallSpec, oddInit);
    const state = { trained: 3 } as Parameters<Checkpoints["write"]>[2];
    await expect(
      new Checkpoints(out, nodeDisk).write(engine, async (path) => void tokenizer(path), state),
    ).rejects.toMatchObject({
      name: "ZazenError",
      code: "DISK",
      message: expect.stringMatching(
        /step-000003\] expected to write, got .*optimizer\.safetensors.*; check the disk$/,
      ),
    });
    expect(readdirSync(join(out, "checkpoints"))).toEqual([]);
  });

  test("a run folder that cannot be made is one too", async () => {
    const file = join(testHost().out, "file");
    writeFileSync(file, "");
    const host = { ...testHost(), out: join(file, "run") };
    await expect(run("sft on the built-in trial", host)).rejects.toMatchObject({
      code: "DISK",
      message: expect.stringMatching(/file\/run\] expected to write, got ENOTDIR/),
    });
  });
});

describe("held-out figures between steps", () => {
  test("are lines of their own; the best checkpoint is kept and named", async () => {
    const host = testHost();
    await run("sft on a file", host);
    const measured = readLines(host.out, "metrics.jsonl").filter((line) => "eval/loss" in line);
    expect(measured.map(({ step }) => step)).toEqual([2, 4, 6]);
    const losses = measured.map((line) => line["eval/loss"] as number);
    const best = Math.min(...losses);
    expect(measured.at(-1)!["eval/loss/best"]).toBe(best);
    const trained = 2 * (1 + losses.indexOf(best));
    const { path } = listCheckpoints(host.out).find((each) => each.trained === trained)!;
    expect(readFileSync(join(host.out, "checkpoints/best/state.json"))).toEqual(readFileSync(join(path, "state.json")));
    expect(notes(host)).toContainEqual(expect.stringMatching(/^step 2: eval\/loss [\d.]+, the best so far$/));
  });

  test("end the part when they get no better, resumed or not", async () => {
    const stubborn = {
      sft: { steps: 40, tokensPerStep: 14, optimizer: { learningRate: 1e-30 } },
      evaluation: {
        every: 2,
        patience: 3,
        data: (cases["sft on a file"]!.settings.evaluation as { data: string }).data,
      },
    };
    const host = testHost();
    const whole = mortalDisk(null);
    await run("sft on a file", { ...host, disk: whole }, stubborn);
    const steps = readLines(host.out, "metrics.jsonl").filter((line) => "grad_norm" in line);
    expect(steps).toHaveLength(8); // the first evaluation, and three that are no better
    const table = (path: string) => readFileSync(join(path, "table.json"), "utf8");
    const [last] = listCheckpoints(host.out);
    expect(table(join(host.out, "model"))).toBe(table(join(host.out, "checkpoints", "best", "model")));
    expect(table(join(host.out, "model"))).not.toBe(table(join(last!.path, "model")));
    for (const at of [45, whole.writes.length]) {
      // some write in the middle, and the summary when the weights have been changed
      const again = testHost();
      const disk = mortalDisk({ at, half: false });
      await expect(run("sft on a file", { ...again, disk }, stubborn)).rejects.toThrow(PowerCut);
      await run("sft on a file", await resuming(again), stubborn);
      expect(remains(again.out)).toEqual(remains(host.out));
    }
  });
});

// `zazen train` and `zazen recipes` with a made-up recipe: as functions, and as a process where signals and exit codes matter.
import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { resolveTarget } from "../../src/cli/find-recipe.js";
import { exitCodeOf } from "../../src/cli/output.js";
import { showRecipes } from "../../src/cli/recipes.js";
import { makeRunFolder, requireEmpty, timestamp } from "../../src/cli/run-folder.js";
import { train } from "../../src/cli/train.js";
import { applySets } from "../../src/config/recipe-file.js";
import { resolveSettings } from "../../src/config/resolve.js";
import { writeModelConfig } from "../../src/engine/spec.js";
import { InputError, ZazenError } from "../../src/errors.js";
import { recipes as allRecipes } from "../../src/methods/index.js";
import type { Recipe } from "../../src/methods/recipe.js";
import { llamaSpec } from "../../src/methods/settings.js";
import { toyTokenizerFolder } from "../helpers/toy-model.js";
import { cliIsBuilt, dist } from "./process.js";

const schema = z.strictObject({
  steps: z.int().min(1).default(3).describe("Steps."),
  data: z.strictObject({ path: z.string().default("x") }).prefault({}),
});

const tiny: Recipe<z.output<typeof schema>> = {
  name: "tiny",
  summary: "A recipe for tests.",
  schema,
  plan: ({ steps }) => [`${steps} steps`],
  run: async ({ steps }, { out, emit }) => {
    emit({ type: "note", level: "info", text: "at work" });
    writeFileSync(join(out, "metrics.jsonl"), "{}\n");
    return { steps };
  },
};
const strict: Recipe<{ path: string }> = {
  ...tiny,
  name: "strict",
  schema: z.strictObject({ path: z.string() }),
  plan: () => [],
  check: async () => {},
  memory: async () => "memory: little",
  run: async () => ({}),
};
const recipes = [tiny, strict] as readonly Recipe[];

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zazen-train-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

/** What `task` writes to stdout. */
async function stdout(task: () => Promise<void>): Promise<string> {
  const written: string[] = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => written.push(String(text)) > 0);
  vi.spyOn(process.stderr, "write").mockImplementation(() => true);
  await task();
  vi.restoreAllMocks();
  return written.join("");
}

describe("resolveTarget", () => {
  test("a name, with settings", async () => {
    const { recipe, config } = await resolveTarget(recipes, "tiny", ["steps=9", "data.path=y"]);
    expect([recipe.name, config]).toEqual(["tiny", { steps: 9, data: { path: "y" } }]);
  });

  test("choices that YAML reads as numbers are their text", async () => {
    const sets = ["model=m", "grpo.sampling.choices=[1,2.5,tie]"];
    const { config } = await resolveTarget(allRecipes, "rlvr", sets);
    expect(config).toMatchObject({ grpo: { sampling: { choices: ["1", "2.5", "tie"] } } });
    const wrong = resolveTarget(allRecipes, "rlvr", ["model=m", "grpo.sampling.choices=[1,true]"]);
    await expect(wrong).rejects.toThrow("grpo.sampling.choices.1: expected list of string, got true");
  });

  test("an empty value where null and texts are allowed says what an empty text is", async () => {
    const log = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    const { config } = await resolveTarget(allRecipes, "rlmt", [
      "model=m",
      "format.answerClose=",
      "grpo.sampling.regex=''",
    ]);
    expect(config).toMatchObject({ format: { answerClose: null } });
    expect(log.mock.calls.map(([text]) => text)).toEqual([
      `--set format.answerClose= sets null, the default; for an empty text write --set 'format.answerClose=""'\n`,
    ]);
    const wrong = resolveTarget(allRecipes, "rlmt", ["model=m", "reward.model="]);
    await expect(wrong).rejects.toThrow('reward.model: expected string, got null; an empty text is reward.model=""');
  });

  test("a file, with settings that go before it", async () => {
    const file = join(folder, "mine.yaml");
    writeFileSync(file, "recipe: tiny\nsteps: 5\ndata: {path: z}\n");
    expect((await resolveTarget(recipes, file, ["steps=9"])).config).toEqual({ steps: 9, data: { path: "z" } });
  });

  test.each([
    ["tinny", [], "RECIPE_UNKNOWN", 'got "tinny"; did you mean "tiny"?'],
    ["tiny.yaml", [], "RECIPE_FILE", "[recipe file tiny.yaml] expected a file to read"],
    ["tiny", ["stepz=1"], "RECIPE_KEY", 'did you mean "steps"?'],
    ["tiny", ["steps=0"], "RECIPE_VALUE", "[recipe tiny] steps: expected integer >= 1, got 0"],
    ["tiny", ["steps"], "RECIPE_SET", '[--set] expected key=value with a dotted key, got "steps"'],
    ["strict", [], "RECIPE_VALUE", "[recipe strict] path: expected string, got nothing"],
  ])("%s %j is refused", async (target, sets, code, message) => {
    const refused = expect(resolveTarget(recipes, target, sets)).rejects;
    await refused.toMatchObject({ code, message: expect.stringContaining(message) as string });
  });
});

describe("train", () => {
  test("--json: one document on stdout, and the run folder it names", async () => {
    const out = join(folder, "a", "b");
    const text = await stdout(() => train(recipes, "tiny", { out, json: true, set: ["steps=4"] }));
    expect(JSON.parse(text)).toEqual({ recipe: "tiny", out, summary: { steps: 4 } });
    expect(readdirSync(out)).toEqual(["metrics.jsonl"]);
  });

  test("without --json the progress is on stdout", async () => {
    expect(await stdout(() => train(recipes, "tiny", { out: join(folder, "c") }))).toContain("\nat work\n");
  });

  test("begins with what will happen and where, ends with the time and the run folder", async () => {
    const out = join(folder, "c");
    const lines = (await stdout(() => train(recipes, "tiny", { out }))).trimEnd().split("\n");
    expect(lines).toEqual([
      "tiny: A recipe for tests.",
      "3 steps",
      expect.stringMatching(/^machine: \d+ threads?, \w+ kernels$/),
      `run folder: ${out}`,
      "at work",
      `Done in 0 s. Run folder: ${out}`,
    ]);
  });

  test("a run that does not do what it is for fails: no word of success, exit code 1", async () => {
    const weak = { ...tiny, run: () => Promise.reject(new ZazenError("SFT_TOO_WEAK", "[x] too weak")) };
    const written: string[] = [];
    vi.spyOn(process.stdout, "write").mockImplementation((text) => written.push(String(text)) > 0);
    vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    const error: unknown = await train([weak as Recipe], "tiny", { out: join(folder, "w") }).catch((e: unknown) => e);
    expect([exitCodeOf(error), written.join("").includes("Done")]).toEqual([1, false]);
  });

  test("--dry-run writes nothing and shows plan and settings", async () => {
    const out = join(folder, "d");
    const text = await stdout(() => train(recipes, "tiny", { out, json: true, dryRun: true }));
    expect(JSON.parse(text)).toEqual({ recipe: "tiny", config: { steps: 3, data: { path: "x" } }, plan: ["3 steps"] });
    expect(existsSync(out)).toBe(false);
  });

  test("--dry-run shows the memory that the run would take", async () => {
    const text = await stdout(() => train(recipes, "strict", { json: true, dryRun: true, set: ["path=x"] }));
    expect(JSON.parse(text)).toMatchObject({ plan: ["memory: little"] });
  });

  test("--dry-run refuses what the recipe's check refuses", async () => {
    const check = () => Promise.reject(new InputError("RECIPE_VALUE", "[x] refused"));
    const refused = train([{ ...tiny, check } as Recipe], "tiny", { dryRun: true });
    await expect(refused).rejects.toMatchObject({ message: "[x] refused" });
  });

  test("--dry-run names every file of the settings that is not there, and asks the hub for nothing", async () => {
    const { recipes: all } = await import("../../src/methods/index.js");
    const dry = (...set: string[]) => train(all, "rlvr", { json: true, dryRun: true, set });
    const [data, model, module] = [join(folder, "rows.jsonl"), join(folder, "m"), join(folder, "reward.ts")];
    const settings = (held: string) => [
      ...[`model=${model}`, `evaluation.data=${held}`, `rewards=[{kind: maths}, {module: ${module}}]`],
      `data=[{source: ${data}}, {hub: openai/gsm8k}, {source: "hub:openai/gsm8k@main:main/train-*.parquet"}]`,
    ];
    const refused = dry(...settings(join(model, "held.jsonl")));
    await expect(refused).rejects.toMatchObject({ code: "RECIPE_VALUE" });
    for (const text of [
      `[recipe rlvr] model: expected a folder, got nothing at ${model}; correct the path`,
      `data: expected a file, got nothing at ${data};`,
      `evaluation.data: expected a file, got nothing at ${join(model, "held.jsonl")};`,
      `rewards[].module: expected a file, got nothing at ${module};`,
    ])
      await expect(refused).rejects.toThrow(text);
    await expect(refused).rejects.not.toThrow(/gsm8k/);
    for (const file of [data, module]) writeFileSync(file, "");
    mkdirSync(model);
    await expect(dry(...settings(model))).rejects.toThrow("evaluation.data: expected a file, got a folder at");
    await expect(dry(...settings(data))).rejects.toThrow(join(model, "tokenizer.json"));
    cpSync(toyTokenizerFolder(), model, { recursive: true });
    await expect(dry(...settings(data))).rejects.toMatchObject({ code: "CONFIG_MISSING" });
    await writeModelConfig(model, llamaSpec({ vocabSize: 9 }));
    expect(JSON.parse(await stdout(() => dry(...settings(data))))).toMatchObject({ recipe: "rlvr" });
  });

  test("sft with neither model nor data says first that it is the built-in demonstration", async () => {
    const sft = allRecipes.find(({ name }) => name === "sft")!;
    const plan = (...set: string[]) => sft.plan(resolveSettings("sft", sft.schema, applySets({}, set)));
    expect(plan()[0]).toMatch(/^neither model nor data is set: this is the built-in demonstration/);
    expect(plan("model=m")[0]).toBe("model: m");
    expect(plan("tokenizer=t", "data=x.jsonl")[0]).toMatch(/^model: from scratch/);
  });

  test("--dry-run takes data that a recipe has by name", async () => {
    const { recipes: all } = await import("../../src/methods/index.js");
    const text = await stdout(() => train(all, "sft", { json: true, dryRun: true }));
    expect(JSON.parse(text)).toMatchObject({ config: { data: "countdown-trial" } });
  });

  test("what --dry-run shows is a recipe file that gives the same run", async () => {
    const file = join(folder, "again.yaml");
    writeFileSync(file, await stdout(() => train(recipes, "tiny", { dryRun: true, set: ["steps=8"] })));
    expect(await resolveTarget(recipes, file, [])).toEqual(await resolveTarget(recipes, "tiny", ["steps=8"]));
  });

  test("a run that fails keeps what it wrote, and says where", async () => {
    const out = join(folder, "e");
    const run: (typeof tiny)["run"] = async (config, context) => {
      await tiny.run(config, context);
      throw new Error("broken");
    };
    vi.spyOn(process.stdout, "write").mockReturnValue(true);
    const log = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    await expect(train([{ ...tiny, run }] as readonly Recipe[], "tiny", { out })).rejects.toThrow("broken");
    expect(log).toHaveBeenCalledWith(`the run failed; what was written is in ${out}\n`);
    expect(readdirSync(out)).toEqual(["metrics.jsonl"]);
  });

  describe("settings that the run refuses", () => {
    const quickstart = (set: readonly string[], more: object) =>
      stdout(() => train(allRecipes, "quickstart", { set, ...more }));
    const huge = ["model.width=16384", "model.heads=128", "model.layers=256", "model.mlp=65536"];

    test.each<[string, readonly string[], string, RegExp]>([
      ["too little room for a sample", ["kvBytes=10000"], "KV_TOO_SMALL", /room for the longest sample.*raise kvBytes/],
      ["a plan too large", huge, "MEMORY_PLAN", /^\[engine\] expected a plan of at most .*take a smaller model/],
    ])("%s: a dry run says the same, and neither leaves a folder", async (_, set, code, message) => {
      const out = join(folder, "f");
      const refused = { code, message: expect.stringMatching(message) as string };
      await expect(quickstart(set, { dryRun: true })).rejects.toMatchObject(refused);
      await expect(quickstart(set, { out })).rejects.toMatchObject(refused);
      expect(existsSync(out)).toBe(false);
    });

    test("nothing of the folders that were made for it is left", async () => {
      const out = join(folder, "runs", "mine");
      await expect(quickstart(["kvBytes=10000"], { out })).rejects.toMatchObject({ code: "KV_TOO_SMALL" });
      expect(readdirSync(folder)).toEqual([]);
    });

    test("a folder that was there stays there, and empty", async () => {
      await expect(quickstart(["kvBytes=10000"], { out: folder })).rejects.toMatchObject({ code: "KV_TOO_SMALL" });
      expect(readdirSync(folder)).toEqual([]);
    });

    test.each(["metrics.jsonl", "rollouts.jsonl", "mine"])("a line of %s is kept", async (name) => {
      const run: (typeof tiny)["run"] = async (_, { out }) => {
        writeFileSync(join(out, "recipe.json"), "{}\n");
        writeFileSync(join(out, name), "{}\n");
        throw new InputError("DATA_LENGTH", "[x] too late");
      };
      const out = join(folder, "g");
      await expect(stdout(() => train([{ ...tiny, run }] as readonly Recipe[], "tiny", { out }))).rejects.toThrow(
        "late",
      );
      expect(readdirSync(out).sort()).toEqual([name, "recipe.json"].sort());
    });

    test("adapters and a reference that follows the policy: by the schema", async () => {
      const sets = ["model=m", "lora.rank=4", "grpo.loss.klCoefficient=0.1", "grpo.reference.sync.every=1"];
      await expect(resolveTarget(allRecipes, "rlvr", sets)).rejects.toMatchObject({
        code: "RECIPE_VALUE",
        message: expect.stringContaining(
          "[recipe rlvr] grpo.reference.sync.every: expected 0, or lora.rank=0, since the reference of adapters is their base, got 1",
        ) as string,
      });
    });
  });

  test("a folder that is not empty is refused, dry run or not, and left alone", async () => {
    writeFileSync(join(folder, "mine"), "1");
    const expected = {
      code: "RUN_FOLDER_NOT_EMPTY",
      message: expect.stringContaining(`${folder} with 1 entries`) as string,
    };
    await expect(train(recipes, "tiny", { out: folder })).rejects.toMatchObject(expected);
    await expect(train(recipes, "tiny", { out: folder, dryRun: true })).rejects.toMatchObject(expected);
    expect(readdirSync(folder)).toEqual(["mine"]);
  });
});

describe("run folders", () => {
  test("a file, or a place below one, is no run folder", async () => {
    const file = join(folder, "file");
    writeFileSync(file, "");
    await expect(requireEmpty(file)).rejects.toMatchObject({ code: "RUN_FOLDER" });
    await expect(makeRunFolder(join(file, "below"), "tiny", new Date())).rejects.toMatchObject({ code: "RUN_FOLDER" });
  });

  test("runs of the same second get folders of their own", async () => {
    const now = new Date(2026, 0, 2, 3, 4, 5);
    expect(timestamp(now)).toBe("20260102-030405");
    const parent = join(folder, "runs");
    const names = [await makeRunFolder(undefined, "x", now, parent), await makeRunFolder(undefined, "x", now, parent)];
    expect(names).toEqual([join(parent, "x-20260102-030405"), join(parent, "x-20260102-030405-2")]);
  });
});

describe("recipes", () => {
  test("lists them all", async () => {
    const document = JSON.parse(await stdout(() => showRecipes(recipes, undefined, { json: true }))) as unknown;
    expect(document).toEqual({
      recipes: [
        { name: "tiny", summary: "A recipe for tests." },
        { name: "strict", summary: "A recipe for tests." },
      ],
    });
    expect(await stdout(() => showRecipes(recipes, undefined, {}))).toContain("strict  A recipe for tests.\n");
  });

  test("shows all settings of one", async () => {
    const text = await stdout(() => showRecipes(recipes, "tiny", {}));
    expect(text).toMatch(/^the whole run: --set steps=VALUE \.\.\.\nsteps +3 +Steps; integer >= 1$/m);
    expect(text).toMatch(/^data: --set data\.path=VALUE \.\.\.\npath +x +string$/m);
    expect(await stdout(() => showRecipes(recipes, "strict", {}))).toMatch(/^path +\(required\) +string$/m);
    const document = JSON.parse(await stdout(() => showRecipes(recipes, "tiny", { json: true }))) as unknown;
    expect(document).toMatchObject({ name: "tiny", settings: [{ key: "steps", default: 3 }, { key: "data.path" }] });
  });

  test("begins with the sections, and shows one alone", async () => {
    const whole = await stdout(() => showRecipes(allRecipes, "rlmt", {}));
    const head = whole.split("\n\n")[0]!.replaceAll("\n", " ");
    expect(head).toMatch(
      /sections: lora, data, mixture, .*reward, .*grpo, .*; `zazen recipes rlmt SECTION` shows one$/,
    );
    const section = await stdout(() => showRecipes(allRecipes, "rlmt", { section: "reward" }));
    expect(section).toMatch(/^reward: --set reward\.model=VALUE \.\.\.$/m);
    expect(section).not.toMatch(/^(grpo|data):/m);
    expect(section.length).toBeLessThan(0.2 * whole.length);
    const loss = JSON.parse(await stdout(() => showRecipes(allRecipes, "rlmt", { section: "grpo.loss", json: true })));
    expect(loss.settings.every(({ key }: { key: string }) => key.startsWith("grpo.loss."))).toBe(true);
    const wrong = showRecipes(allRecipes, "rlmt", { section: "gpro" });
    await expect(wrong).rejects.toMatchObject({
      code: "RECIPE_KEY",
      message: expect.stringContaining('did you mean "grpo"'),
    });
  });

  test("marks the settings that may change on resume, and no others", async () => {
    const flat = (await stdout(() => showRecipes(allRecipes, "sft", {}))).replaceAll(/\s+/g, " ");
    expect(flat).toMatch(/threads 0 Threads[^;]*; 0 takes[^;]*; integer in \[0, 1024\]; may change on resume/);
    expect(flat).toMatch(/steps 500 Optimizer steps; integer in \[[^\]]*\]; may be raised on resume/);
    expect(flat).toMatch(/seed 0 Same seed, same run; integer in \[[^\]]*\] (?!may)/);
  });

  test("the settings of every recipe keep to 100 columns", async () => {
    for (const { name } of allRecipes) {
      const lines = (await stdout(() => showRecipes(allRecipes, name, {}))).split("\n");
      expect(Math.max(...lines.map((line) => [...line].length))).toBeLessThanOrEqual(100);
      const setting = name === "teach" ? "concurrency" : "optimizer.learningRate"; // a teacher trains nothing
      expect(lines.some((line) => line.includes(setting))).toBe(true);
    }
  });

  test("--schema is the JSON Schema", async () => {
    const document = JSON.parse(await stdout(() => showRecipes(recipes, "tiny", { schema: true }))) as unknown;
    expect(document).toMatchObject({ type: "object", properties: { steps: { type: "integer", default: 3 } } });
  });

  test.each([
    ["tinny", {}],
    [undefined, { schema: true }],
  ])("%j %j is refused", async (name, options) => {
    await expect(showRecipes(recipes, name, options)).rejects.toMatchObject({ code: "RECIPE_UNKNOWN" });
  });
});

describe.skipIf(!cliIsBuilt)("signals", { timeout: 30_000 }, () => {
  /** A run that says it is ready and then waits for `after` the signal: "end", "throw" or nothing at all. */
  const script = (after: string) => `
    import { train } from ${JSON.stringify(join(dist, "cli/train.js"))};
    import { handleSignals } from ${JSON.stringify(join(dist, "cli/signals.js"))};
    import { reportFailure } from ${JSON.stringify(join(dist, "cli/output.js"))};
    import { z } from "zod";
    handleSignals();
    const run = (_, { signal, emit }) => new Promise((resolve, reject) => {
      const alive = setInterval(() => {}, 1000);
      signal.addEventListener("abort", () => {
        if (${JSON.stringify(after)} === "nothing") return;
        clearInterval(alive);
        ${JSON.stringify(after)} === "end" ? resolve({}) : reject(signal.reason);
      });
      emit({ type: "note", level: "info", text: "ready" });
    });
    const recipe = { name: "slow", summary: "", schema: z.strictObject({}), plan: () => [], run };
    try { await train([recipe], "slow", { out: process.argv[2], json: true }); } catch (error) { reportFailure(error, true); }
  `;

  async function interrupt(after: string, signals: readonly NodeJS.Signals[]) {
    const file = join(dist, `.signal-test-${process.pid}-${after}.mjs`); // beside node_modules, which it imports from
    writeFileSync(file, script(after));
    const child = spawn(process.execPath, [file, join(folder, "run")]);
    const [out, err]: [string[], string[]] = [[], []];
    child.stdout.on("data", (text) => out.push(String(text)));
    child.stderr.on("data", (text) => {
      err.push(String(text));
      const told = err.join("").includes("stopping after");
      if (err.join("").includes("ready") && !told) child.kill(signals[0]);
      if (told && signals[1] !== undefined) child.kill(signals[1]);
    });
    const code = await new Promise<number | null>((resolve) => child.on("exit", resolve));
    rmSync(file);
    return { code, stdout: out.join(""), stderr: err.join("") };
  }

  test.each([
    ["end", "SIGINT", 130],
    ["throw", "SIGINT", 130],
    ["end", "SIGTERM", 143],
    ["throw", "SIGTERM", 143],
  ] as const)("a run that will %s on %s ends cleanly with %d", async (after, signal, expected) => {
    const { code, stdout: text, stderr } = await interrupt(after, [signal]);
    const last = JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as unknown;
    expect(last).toEqual({
      error: { code: "INTERRUPTED", message: `stopped by ${signal}; what was written is in ${join(folder, "run")}` },
    });
    expect([code, text]).toEqual([expected, ""]);
  });

  test("a run that does not listen ends on the second signal", async () => {
    expect((await interrupt("nothing", ["SIGINT", "SIGTERM"])).code).toBe(143);
  });
});

// `zazen train --resume` as a process, on the engine: a run that is stopped goes on to the run that was not, and every folder, flag and
// state that it cannot go on with is refused by name.
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { holdRun } from "../../src/cli/run-lock.js";
import { listCheckpoints } from "../../src/train/checkpoint.js";
import { remains } from "../helpers/crash.js";
import { cliIsBuilt, failure, json, start, zazen } from "./process.js";

const settings = [
  "sft.steps=12",
  "sft.tokensPerStep=200",
  "scratch.width=24",
  "scratch.mlp=32",
  "scratch.layers=1",
  "scratch.maxPositions=96",
  "checkpoint.every=4",
  "evaluation.every=12",
  "evaluation.demonstrations=8",
].flatMap((setting) => ["--set", setting]);

describe.skipIf(!cliIsBuilt)("--resume", { timeout: 120_000 }, () => {
  let folder: string;
  let done: string; // a finished run
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "zazen-resume-"));
    done = join(folder, "done");
    json(["train", "sft", ...settings, "--out", done]);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** A copy of the finished run, as it was at its last checkpoint. */
  function stopped(name: string): string {
    const out = join(folder, name);
    cpSync(done, out, { recursive: true, verbatimSymlinks: true });
    for (const file of ["summary.json", "model"]) rmSync(join(out, file), { recursive: true });
    return out;
  }

  /** Another text in state.json, under the checksum that it then has. */
  function changeState(out: string, change: (state: Record<string, unknown>) => void): void {
    for (const name of ["step-000012", "step-000008"]) {
      const path = join(out, "checkpoints", name, "state.json");
      const state = JSON.parse(readFileSync(path, "utf8"));
      change(state);
      const text = JSON.stringify(state);
      writeFileSync(path, text);
      writeFileSync(`${path}.sha256`, `${createHash("sha256").update(text).digest("hex")}  state.json\n`);
    }
  }

  /** Signals a run at its second step, as often as is said; resolves with its exit code and what it told. */
  function signalled(out: string, signal: "SIGINT" | "SIGTERM", times: number) {
    const at = { folder: out, verb: "writeSync", place: "metrics.jsonl", nth: 2, signal, times };
    return start(["train", "sft", ...settings, "--out", out, "--json"], at).ended;
  }

  test.each([
    ["SIGINT", 130, 1],
    ["SIGTERM", 143, 1],
    ["SIGINT", 130, 9],
  ] as const)(
    "%s ends with %d, and the resumed run is the one that was not stopped; sent %d times",
    async (signal, code, times) => {
      const out = join(folder, `${signal}-${times}`);
      const stop = await signalled(out, signal, times);
      expect(stop.code).toBe(code);
      if (times === 1) {
        expect(stop.told).toContain(`go on with it: npx zazen train --resume ${out}`);
        const lines = readFileSync(join(out, "metrics.jsonl"), "utf8").split("\n").length - 1;
        expect(listCheckpoints(out)[0]!.trained).toBe(lines); // no step was lost; none of these has an evaluation before it
      }
      const result = json<{ out: string }>(["train", "--resume", out, "--set", "threads=1"]);
      expect(result.out).toBe(out);
      expect({ ...remains(out), checkpoints: [] }).toEqual({ ...remains(done), checkpoints: [] });
    },
  );

  /** Whether a process stands still; throws where there is none. */
  const hasStopped = (pid: number): boolean => /\) T /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));

  test("a run that is being worked on is refused, whoever asks; one whose process was killed is not", async () => {
    const out = join(folder, "busy");
    // It stands still while it removes its first checkpoint, of which there are two others.
    const at = { folder: out, verb: "rmSync", place: "step-000004.part", nth: 2, signal: "SIGSTOP" } as const;
    const run = start(["train", "sft", ...settings, "--out", out], at);
    while (!hasStopped(run.pid)) await new Promise((done) => setTimeout(done, 5));
    const refused = [failure(["train", "--resume", out]), failure(["train", "--resume", out, "--dry-run"])];
    run.kill("SIGKILL");
    expect(await run.ended).toMatchObject({ signal: "SIGKILL" });
    for (const each of refused) {
      expect(each).toMatchObject({
        status: 2,
        code: "RUN_IN_USE",
        message: expect.stringContaining(`${out}, where process ${run.pid} does; let it end`) as string,
      });
    }
    expect(existsSync(join(out, "running.json"))).toBe(true);
    expect(json(["train", "--resume", out, "--dry-run"])).toMatchObject({ recipe: "sft" });
    // Its number may be given to another process, which has another start.
    const holder = JSON.parse(readFileSync(join(out, "running.json"), "utf8"));
    writeFileSync(join(out, "running.json"), JSON.stringify({ ...holder, pid: process.ppid }));
    holdRun(out)[Symbol.dispose]();
    expect(existsSync(join(out, "running.json"))).toBe(false);
  });

  test("a finished run says so and is left alone", () => {
    const before = readFileSync(join(done, "metrics.jsonl"));
    const { status, stderr } = zazen(["train", "--resume", done]);
    expect([status, stderr]).toEqual([0, `the run in ${done} is finished; nothing was done\n`]);
    const document = json(["train", "--resume", done]);
    expect(document).toMatchObject({ recipe: "sft", out: done, summary: { recipe: "sft" } });
    expect(readFileSync(join(done, "metrics.jsonl"))).toEqual(before);
  });

  test("without DIR it takes the run that was written to last", () => {
    const place = join(folder, "place");
    for (const [name, time] of [
      ["older", 1000],
      ["newer", 3000],
      ["oldest", 500],
    ] as const) {
      cpSync(done, join(place, "runs", name), { recursive: true, verbatimSymlinks: true });
      utimesSync(join(place, "runs", name, "metrics.jsonl"), time, time);
    }
    mkdirSync(join(place, "runs", "no-run"));
    const { stderr } = zazen(["train", "--resume"], { cwd: place });
    expect(stderr).toContain("the run in runs/newer is finished");
  });

  test("more steps under a constant learning rate go on from a finished run, as one that had them from the start", () => {
    const constant = [...settings, "--set", "sft.optimizer.schedule=constant"];
    const [short, long] = [join(folder, "short"), join(folder, "long")];
    json(["train", "sft", ...constant, "--set", "sft.steps=8", "--out", short]);
    json(["train", "sft", ...constant, "--out", long]);
    json(["train", "--resume", short, "--set", "sft.steps=12"]);
    expect(remains(short)).toEqual(remains(long));
    expect(JSON.parse(readFileSync(join(short, "recipe.json"), "utf8"))).toMatchObject({
      config: { sft: { steps: 12 } },
    });
  });

  test("a damaged checkpoint is said, and the one before it is used", () => {
    const out = stopped("damaged");
    truncateSync(join(out, "checkpoints", "step-000012", "optimizer.safetensors"), 100);
    const { status, stdout } = zazen(["train", "--resume", out]);
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /not used: \S+\/step-000012: optimizer\.safetensors is not what was written\ngoes on from \S+000008\n/,
    );
    expect(remains(out)).toEqual(remains(done));
  });

  test("--dry-run says from where, and changes nothing", () => {
    const out = stopped("dry");
    const before = readdirSync(out, { recursive: true });
    const { plan } = json<{ plan: string[] }>(["train", "--resume", out, "--dry-run"]);
    expect(plan.at(-1)).toBe(`goes on from ${join(out, "checkpoints", "step-000012")}`);
    expect(readdirSync(out, { recursive: true })).toEqual(before);
  });

  test("other numerics are refused by what differs, unless they are allowed", () => {
    const out = stopped("inexact");
    changeState(out, (state) => {
      state.fingerprint = { ...(state.fingerprint as object), libc: "glibc 1.0" };
    });
    expect(failure(["train", "--resume", out])).toMatchObject({
      status: 2,
      code: "RESUME_INEXACT",
      message: expect.stringMatching(/libc glibc [\d.]+ instead of glibc 1\.0; .*--allow-inexact-resume/) as string,
    });
    const { status, stdout } = zazen(["train", "--resume", out, "--allow-inexact-resume"]);
    expect([status, stdout]).toEqual([0, expect.stringContaining("not exact: libc") as string]);
  });

  test("a recipe.json that was changed by hand is refused like --set", () => {
    const out = stopped("edited");
    const recipe = JSON.parse(readFileSync(join(out, "recipe.json"), "utf8"));
    writeFileSync(join(out, "recipe.json"), JSON.stringify({ ...recipe, config: { ...recipe.config, seed: 5 } }));
    expect(failure(["train", "--resume", out])).toMatchObject({ code: "RESUME_SETTING" });
  });

  test("a run that was killed before its first checkpoint starts again", () => {
    const out = stopped("early");
    rmSync(join(out, "checkpoints"), { recursive: true });
    const { stdout } = zazen(["train", "--resume", out]);
    expect(stdout).toContain("goes on from its beginning; no checkpoint was written yet\n");
    expect(remains(out)).toEqual(remains(done));
  });

  test("a folder in use by a run is refused, with the command that continues it", () => {
    expect(failure(["train", "sft", "--out", done])).toMatchObject({
      code: "RUN_FOLDER_NOT_EMPTY",
      message: expect.stringContaining(`or go on with the run in it: --resume ${done}`) as string,
    });
  });

  test("when all checkpoints are damaged, each is named", () => {
    const out = stopped("all");
    for (const name of ["step-000012", "step-000008"]) rmSync(join(out, "checkpoints", name, "state.json"));
    expect(failure(["train", "--resume", out])).toMatchObject({
      status: 2,
      code: "RESUME_DAMAGED",
      message: expect.stringMatching(
        /whole checkpoint, got none:\n.*000012: state\.json.*\n.*000008: .*\nPut the files back/,
      ) as string,
    });
  });

  describe("is refused", () => {
    test.each([
      [["sft", "--resume"], "USAGE", "expected --resume without a recipe, which the run folder has, got sft"],
      [["--resume", ".", "--out", "x"], "USAGE", "expected --resume without --out"],
      [["sft", "--allow-inexact-resume"], "USAGE", "expected --allow-inexact-resume with --resume"],
      [["--resume", "/nowhere"], "RESUME_FOLDER", "/nowhere: expected a run folder with recipe.json, got none"],
    ])("%j", (args, code, message) => {
      const expected = { status: 2, code, message: expect.stringContaining(message) as string };
      expect(failure(["train", ...args])).toMatchObject(expected);
    });

    test("a setting that must not change, by name", () => {
      const refused = failure(["train", "--resume", done, "--set", "scratch.width=48", "--set", "checkpoint.keep=9"]);
      expect(refused.code).toBe("RESUME_SETTING");
      expect(refused.message).toMatch(
        /^\[train --resume\] scratch\.width: expected 24, as the run began with, got 48\nThe/,
      );
    });

    test.each([
      ["no JSON", "{", "RESUME_FOLDER", /recipe\.json\] expected JSON/],
      ["no recipe", '{"config":{}}', "RESUME_FOLDER", /expected \{recipe, config\}/],
      ["a recipe that is none", '{"recipe":"stf","config":{}}', "RECIPE_UNKNOWN", /did you mean "sft"/],
    ])("a recipe.json with %s", (name, text, code, message) => {
      const out = join(folder, `bad ${name}`);
      mkdirSync(out);
      writeFileSync(join(out, "recipe.json"), text);
      expect(failure(["train", "--resume", out])).toMatchObject({
        status: 2,
        code,
        message: expect.stringMatching(message),
      });
    });
  });
});

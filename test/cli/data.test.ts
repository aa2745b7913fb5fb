// `zazen train sft` as a user starts it, on Parquet, on conversations and on a data set of the hub, with a model made from scratch.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { fixture, folderOf } from "../helpers/files.js";
import { COMMIT, serveHub } from "../helpers/hub-server.js";
import { modelFolder } from "../helpers/recipes.js";
import { readLines } from "../helpers/run-host.js";
import { cliIsBuilt, main } from "./process.js";

let tokenizer: string;

beforeAll(async () => {
  tokenizer = await modelFolder();
  const template =
    "{% for m in messages %}{{ m.role == 'user' and '<q> ' or '<answer> ' }}{{ m.content }} {% endfor %}" +
    "{% if add_generation_prompt %}<answer> {% endif %}";
  writeFileSync(join(tokenizer, "chat_template.jinja"), template);
});

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly out: string;
  summary(): { data: unknown; train: { steps: number } };
}

/** Trains in its own process, while this one can serve. */
function train(settings: object, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const folder = folderOf({ "recipe.json": JSON.stringify({ recipe: "sft", tokenizer, ...settings }) });
  const out = join(folder, "out");
  return run(out, [join(folder, "recipe.json"), "--out", out], env);
}

function run(out: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((ended) => {
    const options = { env: { ...process.env, ...env } };
    execFile(process.execPath, [main, "train", ...args], options, (error, stdout, stderr) => {
      const summary = () => JSON.parse(readFileSync(join(out, "summary.json"), "utf8"));
      ended({ status: Number(error?.code ?? 0), stdout, stderr, out, summary });
    });
  });
}

/** Goes on with a finished run, which is to take twice its steps. */
const goOn = (out: string, flags: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  run(out, ["--resume", out, "--set", `sft.steps=${2 * sft.steps}`, ...flags], env);

const lossesOf = (out: string): unknown[] => readLines(out, "metrics.jsonl").map(({ loss }) => loss);

const sft = { steps: 2, tokensPerStep: 64, optimizer: { schedule: "constant" } };
const lines = (rows: readonly object[]): string => rows.map((row) => JSON.stringify(row)).join("\n");
const talk = (...contents: string[]) =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));

describe.skipIf(!cliIsBuilt)("zazen train sft", () => {
  test("on a mixture of Parquet and conversations", async () => {
    const chats = Array.from({ length: 20 }, (_, i) => JSON.stringify({ messages: talk("1", `${i + 1}`, "2", "3") }));
    const file = join(folderOf({ "chats.jsonl": chats.join("\n") }), "chats.jsonl");
    const parquet = fixture("parquet/snappy.parquet");
    const data = [
      {
        source: parquet,
        columns: { prompt: "prompt", completion: "info.split" },
        where: { ok: [true, false] },
        limit: 1,
      },
      { source: file, weight: 4 },
    ];
    const { status, stderr } = await train({ sft, data });
    expect([status, stderr]).toEqual([
      2,
      expect.stringMatching(/snappy\.parquet row 1\] expected \{prompt, completion\}/),
    ]);
    const columns = { prompt: "info.split", completion: "info.split" };
    const good = await train({ sft, data: [{ ...data[0], columns }, data[1]] });
    expect([good.status, good.stderr]).toEqual([0, ""]);
    expect(good.summary()).toMatchObject({
      train: { steps: 2 },
      data: [
        { source: parquet, rows: 1 },
        { source: file, rows: 20 },
      ],
    });
  });

  test("on a data set of the hub, whose commit is kept", async () => {
    const rows = Array.from({ length: 30 }, (_, i) => JSON.stringify({ question: "1", answer: `${i + 1}` }));
    await using hub = await serveHub({ "team/sums": { "train.jsonl": rows.join("\n") } }, "hf_secret");
    const settings = { sft, data: [{ hub: "team/sums", columns: { prompt: "question", completion: "answer" } }] };
    const env = { HF_ENDPOINT: hub.url, HF_HOME: folderOf({}), HF_HUB_CACHE: undefined, HF_HUB_OFFLINE: "" };
    const refused = await train(settings, { ...env, HF_TOKEN: "" });
    expect([refused.status, refused.stderr]).toEqual([2, expect.stringMatching(/HTTP 401; set HF_TOKEN/)]);
    const good = await train(settings, { ...env, HF_TOKEN: "hf_secret" });
    expect([good.status, good.stderr]).toEqual([0, ""]);
    expect(good.summary().data).toMatchObject([{ source: "hub:team/sums@main:train", commit: COMMIT, rows: 30 }]);
  });

  test("a run on the hub goes on at the commit that it began with, wherever the branch leads to", async () => {
    const sums = Array.from({ length: 30 }, (_, i) => ({ prompt: "1", completion: `${i + 1}` }));
    await using hub = await serveHub({ "team/sums": { "train.jsonl": lines(sums) } });
    const env = () => ({ HF_ENDPOINT: hub.url, HF_HOME: folderOf({}), HF_HUB_CACHE: undefined, HF_HUB_OFFLINE: "" });
    const settings = { sft, data: [{ hub: "team/sums" }] };
    const whole = await train({ ...settings, sft: { ...sft, steps: 2 * sft.steps } }, env());
    const first = await train(settings, env());
    hub.moved = { "team/sums": { "train.jsonl": lines(sums.map(({ prompt }) => ({ prompt, completion: "9 9 9" }))) } };
    const more = await goOn(first.out, [], env());
    expect([more.status, more.stderr]).toEqual([0, ""]);
    expect(more.summary().data).toMatchObject([{ commit: COMMIT, rows: 30 }]);
    expect(lossesOf(first.out)).toEqual(lossesOf(whole.out));
  });

  test("rows that changed are refused with their source, unless they are allowed; the run is left as it was", async () => {
    const rows = Array.from({ length: 30 }, (_, i) => ({ prompt: "1", completion: `${i + 1}` }));
    const data = join(folderOf({ "sums.jsonl": lines(rows) }), "sums.jsonl");
    const { out, status } = await train({ sft, data });
    expect(status).toBe(0);
    const before = readFileSync(join(out, "metrics.jsonl"), "utf8");
    writeFileSync(data, lines(rows.toReversed()));
    const refused = await goOn(out, ["--json"]);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toMatch(/"RESUME_DATA"/);
    expect(refused.stderr).toMatch(
      /sums\.jsonl: expected the rows that the run began with, 30 with SHA-256 \w{12}\.\.\., got 30 with SHA-256 \w{12}\.\.\.; put the data back .*--allow-inexact-resume/,
    );
    expect(readFileSync(join(out, "metrics.jsonl"), "utf8")).toBe(before);
    expect(refused.summary().train.steps).toBe(sft.steps);
    const allowed = await goOn(out, ["--allow-inexact-resume"]);
    expect([allowed.status, allowed.stdout]).toEqual([
      0,
      expect.stringMatching(/not exact: \S+sums\.jsonl: expected the rows/),
    ]);
    expect(allowed.summary().train.steps).toBe(2 * sft.steps);
    writeFileSync(data, lines(rows));
    expect((await goOn(out, ["--set", "sft.steps=6", "--json"])).stderr).toMatch(/"RESUME_DATA"/); // now the others are its rows
  });

  test("a checkpoint without hashes goes on, and says that it has none", async () => {
    const data = join(folderOf({ "sums.jsonl": lines([{ prompt: "1", completion: "2" }]) }), "sums.jsonl");
    const { out } = await train({ sft, data });
    const state = join(out, "checkpoints", "step-000002", "state.json");
    const { data: _, ...older } = JSON.parse(readFileSync(state, "utf8"));
    const text = JSON.stringify(older);
    writeFileSync(state, text);
    writeFileSync(`${state}.sha256`, `${createHash("sha256").update(text).digest("hex")}  state.json\n`);
    const more = await goOn(out, []);
    expect([more.status, more.stdout]).toEqual([0, expect.stringContaining("the checkpoint has no hash of the data")]);
  });
});

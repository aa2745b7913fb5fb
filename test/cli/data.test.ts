// `zazen train sft` as a user starts it, on Parquet, on conversations and on a data set of the hub, with a model made from scratch.
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { fixture, folderOf } from "../helpers/files.js";
import { COMMIT, serveHub } from "../helpers/hub-server.js";
import { modelFolder } from "../helpers/recipes.js";
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
  readonly stderr: string;
  readonly out: string;
  summary(): { data: unknown; train: { steps: number } };
}

/** Trains in its own process, while this one can serve. */
function train(settings: object, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const folder = folderOf({ "recipe.json": JSON.stringify({ recipe: "sft", tokenizer, ...settings }) });
  const out = join(folder, "out");
  const args = [main, "train", join(folder, "recipe.json"), "--out", out];
  return new Promise((ended) => {
    execFile(process.execPath, args, { env: { ...process.env, ...env } }, (error, _, stderr) => {
      const summary = () => JSON.parse(readFileSync(join(out, "summary.json"), "utf8"));
      ended({ status: Number(error?.code ?? 0), stderr, out, summary });
    });
  });
}

const sft = { steps: 2, tokensPerStep: 64 };
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
});

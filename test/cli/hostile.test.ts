// Model folders of strangers through the command line: a chat template that is missing, refuses, loops or eats the heap, a tokenizer that is
// damaged or whose pattern spins, of the policy and of the reward model. Each ends a command with a typed error, exit code 2, within its deadline,
// and leaves no run behind.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { llamaSpec } from "../../src/methods/settings.js";
import { TRIAL_VOCAB_SIZE, trialTokenizerFiles } from "../../src/tasks/countdown-trial.js";
import { eos, jsonl } from "../helpers/recipes.js";
import { rewardFolder } from "../helpers/reward-models.js";
import { modulePath } from "../helpers/rewards.js";
import { temporaryFolder } from "../helpers/temporary.js";
import { cliIsBuilt, start } from "./process.js";

const TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}";
const SPINNING = `${"a".repeat(60)}b`; // what a pattern backtracks on without end
/** The longest deadline of a single call is 10 s of computing, which on a busy machine may take thirty times as long by the clock. */
const LONGEST_MS = 300_000;

let sound: string; // a chat model with the trial's tokenizer
beforeAll(async () => {
  sound = join(temporaryFolder("hostile"), "model");
  mkdirSync(sound);
  const sizes = { width: 16, layers: 1, heads: 1, mlp: 16, maxPositions: 64 };
  const spec = llamaSpec({ ...sizes, vocabSize: TRIAL_VOCAB_SIZE, eosTokenId: eos });
  await using engine = await Engine.create(spec, { seed: 1 }, { trainable: false });
  await engine.save(sound);
  for (const [name, text] of Object.entries(trialTokenizerFiles(64))) writeFileSync(join(sound, name), text);
  writeFileSync(join(sound, "chat_template.jinja"), TEMPLATE);
});

const write = (file: string, text: string) => (folder: string) => writeFileSync(join(folder, file), text);
const damages = {
  refuses: write("chat_template.jinja", "{{ raise_exception('no') }}"),
  loops: write("chat_template.jinja", `${"{% for i in range(1000) %}".repeat(5)}${"{% endfor %}".repeat(5)}`),
  eats: write("chat_template.jinja", "{% for i in range(1000000000) %}{{ i }}{% endfor %}"),
  cut: (folder: string) => {
    const text = readFileSync(join(folder, "tokenizer.json"), "utf8");
    write("tokenizer.json", text.slice(0, text.length >> 1))(folder);
  },
  spins: (folder: string) => {
    const file = JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8")) as object;
    const split = { type: "Split", pattern: { Regex: "(a+)+$" }, behavior: "Isolated", invert: false };
    write("tokenizer.json", JSON.stringify({ ...file, normalizer: null, pre_tokenizer: split }))(folder);
  },
};
type Damage = keyof typeof damages;

function damaged(damage: Damage): string {
  const folder = join(temporaryFolder("hostile"), "model");
  cpSync(sound, folder, { recursive: true });
  damages[damage](folder);
  return folder;
}

const prompts = () => jsonl(...Array.from({ length: 12 }, (_, i) => ({ prompt: `${i} ${SPINNING}` })));
const recipe = (name: string, data: string, ...sets: string[]) => [
  ...["train", name, "--out", join(temporaryFolder("hostile-run"), "run")],
  ...[`data=${data}`, ...sets].flatMap((set) => ["--set", set]),
];
const rewards = `rewards=[{module: ${modulePath("answers.mjs")}}]`;
const commands = {
  generate: (model: string) => ["generate", "--model", model, "--prompt", SPINNING, "--max-tokens", "2"],
  sft: (model: string) => {
    const messages = [
      { role: "user", content: SPINNING },
      { role: "assistant", content: "1" },
    ];
    return recipe("sft", jsonl({ messages }), `model=${model}`);
  },
  "reward-model": (model: string) =>
    recipe("reward-model", jsonl({ prompt: SPINNING, chosen: "1", rejected: "2" }), `model=${model}`),
  rlmt: (model: string) => recipe("rlmt", prompts(), `model=${model}`, rewards),
};
type Command = keyof typeof commands;

/** The error of a command, as it writes it with --json. */
async function errorOf(args: readonly string[]): Promise<{ readonly code: string; readonly message: string }> {
  const began = performance.now();
  const { code, told } = await start([...args, "--json"]).ended;
  expect(performance.now() - began).toBeLessThan(LONGEST_MS);
  expect(code, told).toBe(2);
  const run = args[args.indexOf("--out") + 1]!;
  if (args.includes("--out") && existsSync(run)) expect(readdirSync(run)).toEqual([]);
  return (JSON.parse(told.trimEnd().split("\n").at(-1)!) as { error: { code: string; message: string } }).error;
}

const [template, tokenizer] = ["CHAT_TEMPLATE_FAILED", "TOKENIZER_INVALID"];

describe.skipIf(!cliIsBuilt)("a policy's folder", { timeout: LONGEST_MS + 60_000 }, () => {
  test.concurrent.each<[Damage, Command, string, RegExp]>([
    ["refuses", "generate", template, /chat_template\.jinja\] .*got: no\b/],
    ["refuses", "sft", template, /the messages of .*data\.jsonl:1, got: no\b/],
    ["refuses", "reward-model", template, /got: no\b/],
    ["refuses", "rlmt", template, /got: no\b/],
    ["loops", "generate", template, /no text within 5000 ms/],
    ["loops", "rlmt", template, /no text within 5000 ms/],
    ["eats", "sft", template, /over 128 MB of memory|no text within 5000 ms/],
    ["cut", "generate", tokenizer, /tokenizer\.json\] .*JSON/],
    ["cut", "sft", tokenizer, /JSON/],
    ["cut", "reward-model", tokenizer, /JSON/],
    ["cut", "rlmt", tokenizer, /JSON/],
    ["spins", "generate", tokenizer, /took more than 10000 ms/],
    ["spins", "rlmt", tokenizer, /took more than 10000 ms/],
  ])("%s: %s", async (damage, command, code, message) => {
    const error = await errorOf(commands[command](damaged(damage)));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test.concurrent("without a template: conversations are refused", async () => {
    const folder = join(temporaryFolder("hostile"), "model");
    cpSync(sound, folder, { recursive: true, filter: (path) => !path.endsWith(".jinja") });
    for (const command of ["sft", "rlmt"] as const)
      expect(await errorOf(commands[command](folder))).toMatchObject({ code: "CHAT_TEMPLATE_MISSING" });
  });
});

describe.skipIf(!cliIsBuilt)("a reward model's folder", { timeout: LONGEST_MS + 60_000 }, () => {
  const rlmt = (model: string) => recipe("rlmt", prompts(), `model=${sound}`, `reward.model=${model}`);

  test.concurrent.each<[Damage, string, RegExp]>([
    ["refuses", template, /got: no\b/],
    ["loops", template, /no text within 5000 ms/],
    ["cut", tokenizer, /JSON/],
  ])("%s", async (damage, code, message) => {
    const folder = rewardFolder({ safetensors: true, template: false });
    write("chat_template.jinja", TEMPLATE)(folder);
    damages[damage](folder);
    const error = await errorOf(rlmt(folder));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test.concurrent("without a template", async () => {
    const error = await errorOf(rlmt(rewardFolder({ safetensors: true, template: false })));
    expect(error.code).toBe("CHAT_TEMPLATE_MISSING");
  });
});

// The sft recipe from settings to run folder, on table models.
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { makeSft } from "../../src/methods/sft.js";
import { TRIAL_VOCAB_SIZE } from "../../src/tasks/countdown-trial.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { eos, jsonl, modelFolder, notes } from "../helpers/recipes.js";
import { testHost } from "../helpers/run-host.js";

describe("sft", () => {
  async function run(settings: Settings, host = testHost()) {
    const source = new FakeSource();
    const recipe = makeSft(source);
    const config = resolveSettings("sft", recipe.schema, { sft: { steps: 2, tokensPerStep: 40 }, ...settings });
    const summary = await recipe.run(config, host);
    return { host, source, summary };
  }

  test("trains a model from scratch on the built-in trial", async () => {
    const { host, source, summary } = await run({});
    expect(source.made[0]!.spec).toMatchObject({ vocabSize: TRIAL_VOCAB_SIZE, eosTokenIds: [eos] });
    expect(summary).toMatchObject({ recipe: "sft", model: join(host.out, "model"), train: { steps: 2 } });
    expect(notes(host)[0]).toMatch(/^parameters: [\d,]+$/);
    expect(notes(host).at(-1)).toMatch(/generate --model \S+\/model .*\n.*'<q> .* <think>'/);
    expect(existsSync(join(host.out, "model", "tokenizer.json"))).toBe(true);
  });

  test("trains a model folder on texts, completions ended and prompts not counted", async () => {
    const data = jsonl({ prompt: "<q> 3 2", completion: "3 + 2 </answer>" });
    const { source } = await run({ model: await modelFolder(), data });
    const { batch } = source.made[0]!.batches[0]!;
    expect([...batch.ids.subarray(0, 8)]).toEqual([104, 3, 2, 3, 110, 2, 109, eos]);
    expect([...batch.weights.subarray(0, 8)].map((weight) => weight > 0)).toEqual([
      false,
      false,
      false,
      true,
      true,
      true,
      true,
      true,
    ]);
    expect(batch.cuSeqlens).toHaveLength(6); // five of eight tokens fit in 40
  });

  test("trains on the last message of conversations through the chat template", async () => {
    const model = await modelFolder();
    const template =
      "{% for m in messages %}{{ m.role == 'user' and '<q> ' or '<answer> ' }}{{ m.content }} {% endfor %}{% if add_generation_prompt %}<answer> {% endif %}";
    writeFileSync(join(model, "chat_template.jinja"), template);
    const messages = [
      { role: "user", content: "3 2" },
      { role: "assistant", content: "5 </answer>" },
    ];
    const { source } = await run({ model, data: jsonl({ messages }) });
    const { batch } = source.made[0]!.batches[0]!;
    expect([...batch.ids.subarray(0, 7)]).toEqual([104, 3, 2, 108, 5, 109, eos]);
    expect([...batch.weights.subarray(0, 7)].map((weight) => weight > 0)).toEqual([
      false,
      false,
      false,
      false,
      true,
      true,
      true,
    ]);
  });

  test.each([
    [
      "another shape",
      [{ prompt: "1", completion: "2" }, { text: "3" }],
      "JSONL_LINE",
      /data\.jsonl:2\] expected \{prompt, completion\}.*keys text/,
    ],
    [
      "messages that end with the user's",
      [
        {
          messages: [
            { role: "assistant", content: "1" },
            { role: "user", content: "2" },
          ],
        },
      ],
      "JSONL_LINE",
      /:1\]/,
    ],
    [
      "messages without a chat template",
      [
        {
          messages: [
            { role: "user", content: "1" },
            { role: "assistant", content: "2" },
          ],
        },
      ],
      "CHAT_TEMPLATE_MISSING",
      /:1\]/,
    ],
    [
      "too many tokens",
      [{ prompt: "1", completion: "2 ".repeat(600) }],
      "DATA_LENGTH",
      /:1\] expected 1 to 512 tokens/,
    ],
    ["no records", [], "DATA_EMPTY", /data\.jsonl\]/],
  ])("%s is an error that names the place", async (_, records, code, message) => {
    const host = testHost();
    const running = run({ model: await modelFolder(), data: jsonl(...records) }, host);
    await expect(running).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(readdirSync(host.out)).toEqual([]); // the corrected command may use it
  });

  test("a model from scratch on a file needs a tokenizer", async () => {
    await expect(run({ data: jsonl({ prompt: "1", completion: "2" }) })).rejects.toMatchObject({
      code: "RECIPE_VALUE",
      message: expect.stringContaining("tokenizer"),
    });
    const { source } = await run({ data: jsonl({ prompt: "1", completion: "2" }), tokenizer: await modelFolder() });
    expect(source.made[0]!.spec.vocabSize).toBe(TRIAL_VOCAB_SIZE);
  });
});

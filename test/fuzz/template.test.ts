// Fuzz of chat templates and of the conversations that go through them. A template that renders renders the same from a copy of its files,
// and demonstrations made with it are ids of the vocabulary with something to train on.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { resolveSettings } from "../../src/config/resolve.js";
import type { Random } from "../../src/data/random.js";
import { makeSft, type SftConfig } from "../../src/methods/sft.js";
import { openDemonstrations } from "../../src/methods/sft-data.js";
import { ChatTemplate, type Message, type TemplateOptions } from "../../src/prompt/chat.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { TRIAL_VOCAB_SIZE } from "../../src/tasks/countdown-trial.js";
import { copyTokenizer } from "../../src/train/run-folder.js";
import { FakeSource, fakeSpec } from "../helpers/fake-engine.js";
import { fixture } from "../helpers/files.js";
import { eos, modelFolder } from "../helpers/recipes.js";
import { testHost } from "../helpers/run-host.js";
import { fuzzTests } from "./define.js";
import { type Files, type Target, writeFiles } from "./fuzz.js";
import { damageBytes, mutateJsonFile, mutateLines, mutateValue, wordsOf } from "./mutate.js";
import { READERS } from "./readers.js";
import { TRIAL_CONFIG } from "./tokenizers.js";

const TEMPLATE = "chat_template.jinja";
const CONFIG = "tokenizer_config.json";
const ROWS = "rows.jsonl";

const { marked_template, stories_template } = JSON.parse(readFileSync(fixture("chat.json"), "utf8"));
const TEMPLATES: readonly string[] = [
  marked_template,
  stories_template,
  "{% for m in messages %}\n<q> {{ m.content | trim }}\n{% endfor %}\n{% if add_generation_prompt %}<answer> {% endif %}",
  "{%- set ns = namespace(last=0) -%}\n{%- for m in messages -%}\n{%- set ns.last = loop.index0 -%}\n{{- m.role ~ ': ' ~ m['content'] -}}\n" +
    "{%- if m.role not in ['user', 'assistant', 'system'] -%}{{ raise_exception('no such role') }}{%- endif -%}\n{%- endfor -%}",
];
const PIECES = [
  "{% for i in range(3) %}",
  "{% endfor %}",
  "{% if x is defined %}",
  "{% else %}",
  "{% endif %}",
  "{{ messages }}",
]
  .concat([
    "{{ m.content.split('a')[-1] }}",
    "{{ messages | tojson(indent=2) }}",
    "{% macro f(x) %}{{ x }}{% endmacro %}",
    "{{ f(1) }}",
  ])
  .concat([
    "{% set x = 1 %}",
    "{{ 1 / 0 }}",
    "{{ 'a' * 3 }}",
    "{# c #}",
    "{% raw %}",
    "{{ messages[::-1] }}",
    "{{ bos_token }}",
    "{%-",
  ])
  .concat([
    "{{ strftime_now('%d') }}",
    "{% generation %}",
    "{% endgeneration %}",
    "{{ raise_exception('x') }}",
    "{{ m | upper",
    "}}",
  ])
  .concat([
    "{{ ''.constructor.constructor('return 1')() }}",
    "{{ messages | map(attribute='role') | join }}",
    "{% break %}",
    "-%}",
  ]);
const CHATS = [
  {
    messages: [
      { role: "user", content: "1 + 2" },
      { role: "assistant", content: "3" },
    ],
  },
  { messages: ["system", "user", "assistant", "user", "assistant"].map((role, i) => ({ role, content: `${i} 9` })) },
  { prompt: [{ role: "user", content: "<think> 4" }], completion: "5 </think>" },
  { prompt: "<q> 7", completion: "8 <eos>" },
];
const WORDS = wordsOf(CHATS);
const CONVERSATIONS = CHATS.flatMap(({ messages, prompt }) => [messages, prompt])
  .filter(Array.isArray)
  .map((messages) => messages as Message[]);
const SETTINGS = [
  {},
  { examples: { trainOn: "all" } },
  { examples: { trainOn: "last", maxTokens: 6, tooLong: "truncate" } },
];

function make(stream: Random): Files {
  const source = stream.choice(TEMPLATES);
  const mutated = Buffer.from(mutateLines(source, stream, PIECES));
  const template = stream.int(4) === 0 ? damageBytes(mutated, stream, PIECES) : mutated;
  if (stream.int(6) === 0) {
    const named = { ...TRIAL_CONFIG, chat_template: [{ name: "default", template: source }] };
    return { [CONFIG]: mutateJsonFile(named, stream, [...PIECES, "name", "template", "default"]) };
  }
  if (stream.int(4) > 0) return { [TEMPLATE]: template };
  const row = mutateValue(stream.choice(CHATS), stream, WORDS);
  const files = {
    [TEMPLATE]: stream.int(2) === 0 ? source : template,
    "settings.json": String(stream.int(SETTINGS.length)),
  };
  return { ...files, [ROWS]: `${row.replaceAll("\n", " ")}\n${JSON.stringify(stream.choice(CHATS))}` };
}

let learner: { readonly model: string; readonly tokenizer: Tokenizer };

async function read(folder: string): Promise<void> {
  if (existsSync(join(folder, ROWS))) {
    const index = Number(readFileSync(join(folder, "settings.json"), "utf8"));
    return readRows(folder, SETTINGS[index]!);
  }
  const copy = join(folder, "copy");
  const texts = await render(folder);
  mkdirSync(copy);
  copyTokenizer(folder)(copy);
  const again = await render(copy);
  if (texts.join("\0") !== again.join("\0")) throw new Error(`texts that differ: ${texts} and ${again}`);
}

async function render(
  folder: string,
  options: TemplateOptions = { date: "2025-01-31" },
  deadlineMs = 3_000,
): Promise<string[]> {
  const template = await ChatTemplate.load(folder, options);
  return template === null ? [] : template.renderEach(conversations(), deadlineMs);
}

const conversations = () => CONVERSATIONS.map((messages) => ({ messages, addGenerationPrompt: true }));

async function readRows(folder: string, settings: object, vocabulary = TRIAL_VOCAB_SIZE): Promise<void> {
  const schema = makeSft(new FakeSource()).schema;
  const config = resolveSettings<SftConfig>("sft", schema, { ...settings, data: join(folder, ROWS) });
  const spec = fakeSpec(vocabulary, eos);
  using source = await openDemonstrations(config, { folder, tokenizer: learner.tokenizer, spec }, testHost());
  for (const { prompt, completion, mask } of source.first(9)) {
    const ids = [...Array.from(prompt), ...Array.from(completion)];
    const trained = completion.length > 0 && (mask === undefined || mask[0] === 1);
    if (!trained || !ids.every((id) => id >= 0 && id < vocabulary)) throw new Error(`a demonstration of ${ids}`);
  }
}

const chat = JSON.stringify({ messages: CONVERSATIONS[0] });
const rows = (row: string, template: string = TEMPLATES[2]!): Files => ({
  [TEMPLATE]: template,
  [ROWS]: row,
  "settings.json": "0",
});
const grown = (doublings: number) =>
  `{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(${doublings}) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}`;

function withRows(settings: object, files: Files, vocabulary?: number) {
  return async (folder: string) => {
    writeFiles(folder, files);
    await readRows(folder, settings, vocabulary);
  };
}

const target: Target = {
  name: "template",
  inputs: { quick: 25, full: 2_000 },
  readers: READERS.template,
  beneath: [
    "src/config/files.ts",
    "src/data/jsonl.ts",
    "src/data/records.ts",
    "src/data/rows.ts",
    "src/prompt/tokenizer.ts",
  ],
  make,
  read,
  directed: [
    ["CHAT_TEMPLATE_FAILED", { [TEMPLATE]: "{{ raise_exception('\u001b[31mno') }}" }],
    [
      "CHAT_TEMPLATE_FAILED",
      { [TEMPLATE]: "{% for i in range(100000000) %}{% for j in range(100000000) %}{% endfor %}{% endfor %}" },
    ],
    ["CHAT_TEMPLATE_FAILED", { [TEMPLATE]: grown(22) }],
    ["CHAT_TEMPLATE_FAILED", { [TEMPLATE]: grown(60) }],
    ["CHAT_TEMPLATE_MISSING", (folder) => render(folder, { name: "other" })],
    ["CHAT_TEMPLATE_MISSING", { [ROWS]: chat, "settings.json": "0" }],
    ["CHAT_TEMPLATE_SETTING", (folder) => render(folder, { date: "today" })],
    ["CHAT_TEMPLATE_PREFIX", rows(chat, "{{ messages | length }}{{ messages[0].content }}")],
    [
      "CHAT_MASK",
      rows(
        JSON.stringify({
          messages: [
            { role: "user", content: "1" },
            { role: "assistant", content: "2" },
          ],
        }),
        "{% for m in messages %}{{ m.content }}{% endfor %}",
      ),
    ],
    ["TOKENIZER_INVALID", { [TEMPLATE]: "x", [CONFIG]: "[" }],
    ["TOKENIZER_INVALID", { [TEMPLATE]: Uint8Array.of(0x7b, 0xff) }],
    ["JSONL_LINE", rows('{"prompt": 1}')],
    ["DATA_LENGTH", withRows({ examples: { maxTokens: 2 } }, rows('{"prompt": "1 2 3", "completion": "4"}'))],
    ["DATA_VOCABULARY", withRows({}, rows('{"prompt": "<q> 1", "completion": "4"}'), 9)],
  ],
};

fuzzTests("template", async () => {
  const model = await modelFolder();
  learner = { model, tokenizer: await Tokenizer.load(model) };
  return target;
});

// Which source files read what comes from outside, by the fuzz target whose inputs have to reach every error code in them.

const under = (folder: string, ...names: string[]): string[] => names.map((name) => `${folder}/${name}`);

export const READERS = {
  weights: [...under("native/core", "json.cc", "safetensors.cc", "file.cc"), "native/model/checkpoint.cc"],
  config: [
    ...under(
      "src/engine",
      "spec.ts",
      "spec-fault.ts",
      "rope.ts",
      "unsupported.ts",
      "weights.ts",
      "generation-config.ts",
    ),
    "src/config/files.ts",
  ],
  peft: under("src/engine", "peft.ts", "lora.ts"),
  recipe: [...under("src/config", "recipe-file.ts", "resolve.ts", "changes.ts"), "src/cli/find-recipe.ts"],
  rows: under(
    "src/data",
    ...["jsonl.ts", "json-list.ts", "rows.ts", "source.ts", "records.ts", "mixture.ts", "order.ts"],
  ),
  parquet: under("src/data", "parquet.ts", "parquet-child.mjs"),
  tokenizer: under(
    "src/prompt",
    ...["tokenizer.ts", "tokenizer-process.ts", "tokenizer-child.mjs", "tokenizer-relay.mjs", "token-bytes.ts"],
  ),
  template: [
    ...under("src/prompt", "chat.ts", "template-file.ts", "assistant-mask.ts", "render-child.mjs"),
    "src/methods/sft-examples.ts",
  ],
  reward: ["src/reward/model/folder.ts"],
  checkpoint: [...under("src/train", "checkpoint.ts", "run-state.ts"), "src/cli/resume.ts"],
} as const satisfies Readonly<Record<string, readonly string[]>>;

/** Folders whose files read what comes from outside; one with an error code belongs to a target, or is named below. */
export const FOLDERS = ["src/config", "src/data", "src/prompt", "native/core"];

/** Files there that read no format of a file, with the test of their codes. */
export const OTHERS: Readonly<Record<string, string>> = {
  "src/data/hub.ts": "test/data/hub.test.ts",
  "src/data/hub-fetch.ts": "test/data/hub.test.ts",
  "src/data/hub-download.ts": "test/data/hub.test.ts",
  "src/data/random.ts": "test/data/random.test.ts",
  "src/data/store.ts": "test/data/store.test.ts",
  "src/prompt/thinking.ts": "test/prompt/thinking.test.ts",
};

/** Files there whose codes are about memory and threads, not about what is read. */
export const NO_READERS = ["buffer.h", "check.h", "thread_pool.cc"].map((name) => `native/core/${name}`);

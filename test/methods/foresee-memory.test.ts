// What a dry run says of memory, and which settings it refuses as the run does: on specs, without models or data.
import { describe, expect, test } from "vitest";
import { foreseeMemory, type MemoryQuestion } from "../../src/methods/memory.js";
import { llamaSpec } from "../../src/methods/settings.js";

const GiB = 2 ** 30;
const spec = llamaSpec({ vocabSize: 500, width: 64, heads: 2, mlp: 128, maxPositions: 4096 });
/** A sample of one prompt as long as the model has room for. */
const question = (changed: Partial<MemoryQuestion> = {}): MemoryQuestion => ({
  model: () => ({ spec }),
  options: { threads: 1 },
  workload: ({ maxPositions }) => ({
    train: { tokens: maxPositions, longest: maxPositions },
    generate: [{ prompts: 1, promptTokens: maxPositions - 1, samplesPerPrompt: 1, maxTokens: 1 }],
  }),
  bounded: true,
  ...changed,
});

describe("foreseeMemory", () => {
  test("is the plan of the longest sequences", async () => {
    expect(await foreseeMemory(question())).toMatch(/^memory: .* are left; for sequences as long as .* were read$/);
    expect(await foreseeMemory(question({ bounded: false }))).toMatch(/^memory: .* are left$/);
  });

  test("room that the longest sequence lacks is refused where they are known, and said where data may be shorter", async () => {
    const options = { threads: 1, kvBytes: 100_000 };
    await expect(foreseeMemory(question({ options, bounded: false }))).rejects.toMatchObject({ code: "KV_TOO_SMALL" });
    expect(await foreseeMemory(question({ options }))).toMatch(
      /^memory: unknown, \[generate\] expected room for the longest sample.*no data were read$/,
    );
  });

  test.each([true, false])("room that no sequence has is refused, with data or without: %s", async (bounded) => {
    const options = { threads: 1, kvBytes: 100 };
    await expect(foreseeMemory(question({ options, bounded }))).rejects.toMatchObject({ code: "KV_TOO_SMALL" });
  });

  test("layers that the model does not have", async () => {
    const lora = { rank: 2, alpha: 2, targets: ["x_proj"] };
    const asked = foreseeMemory(question({ options: { lora } }));
    await expect(asked).rejects.toMatchObject({ code: "LORA_TARGET", message: expect.stringContaining("x_proj") });
  });

  test("what others take is not there for the engine", async () => {
    const beside = async () => [{ name: "reward model", bytes: 2 ** 20 * GiB, held: 0 }];
    await expect(foreseeMemory(question({ beside }))).rejects.toMatchObject({ code: "MEMORY_PLAN" });
  });

  test("adapters are offered where the run would offer them", async () => {
    const huge = llamaSpec({ vocabSize: 500, width: 8192, heads: 64, layers: 256, mlp: 16_384 });
    const asked = foreseeMemory(question({ model: () => ({ spec: huge }), proposals: { adapters: false } }));
    await expect(asked).rejects.toMatchObject({ message: expect.not.stringContaining("lora") });
  });
});

// No silent fallback: what was asked for is what works, or an error that says what there is. Instruction sets, types of weights and moments.
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { addon } from "../../src/engine/addon.js";
import { Engine } from "../../src/engine/engine.js";
import { DTYPES, type EngineOptions } from "../../src/engine/types.js";
import { isas, oddInit, smallSpec, temporaryFolder } from "../helpers/engine.js";
import { storedTypes } from "../helpers/safetensors.js";

describe("an instruction set", () => {
  const absent = (["avx2", "avx512", "avx512_bf16"] as const).filter((isa) => !isas.includes(isa));

  test.skipIf(absent.length === 0).each(absent)("%s, which this machine or build does not have", async (isa) => {
    await expect(Engine.create(smallSpec, oddInit, { isa })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining(`expected an instruction set of this machine and build, got ${isa}`),
    });
  });

  test.each(["neon", "", "AVX2"])('"%s", which nobody has', async (isa) => {
    const asked = { isa } as unknown as EngineOptions;
    await expect(Engine.create(smallSpec, oddInit, asked)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  test("that native code does not know is no other one there either", async () => {
    const native = new (addon().Engine)();
    const args = await openArguments({ isa: "neon" });
    await expect(async () => native.open(args)).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("got neon"),
    });
    native.dispose();
  });
});

/** What the class hands to native code, with a change. */
async function openArguments(change: object): Promise<object> {
  const library = addon();
  const { Engine: Native } = library;
  let seen: object = {};
  library.Engine = class extends Native {
    override open(args: object) {
      seen = args;
      return super.open(args);
    }
  };
  try {
    await using _ = await Engine.create(smallSpec, oddInit, { trainable: false });
  } finally {
    library.Engine = Native;
  }
  return { ...seen, ...change };
}

describe("types", () => {
  const names = { float32: "F32", bfloat16: "BF16" } as const;
  const pairs = DTYPES.flatMap((dtype) => DTYPES.map((moments) => ({ dtype, moments })));

  test.each(pairs)("weights in $dtype, moments in $moments are what is saved", async ({ dtype, moments }) => {
    const folder = temporaryFolder();
    await using engine = await Engine.create(smallSpec, oddInit, { dtype, moments });
    await engine.save(folder);
    await engine.saveState(folder);
    const weights = storedTypes(join(folder, "model.safetensors"));
    const state = storedTypes(join(folder, "optimizer.safetensors"));
    expect(new Set(Object.values(weights))).toEqual(new Set([names[dtype]]));
    for (const [name, type] of Object.entries(state)) {
      expect(type, name).toBe(name.startsWith("master.") ? "F32" : names[moments]);
    }
    expect(Object.keys(state).some((name) => name.startsWith("master."))).toBe(dtype === "bfloat16");
  });
});

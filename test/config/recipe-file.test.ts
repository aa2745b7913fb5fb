// Recipe files and --set as plain data.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { applySets, formatRecipe, looksLikeFile, readRecipeFile } from "../../src/config/recipe-file.js";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "zazen-recipe-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe("readRecipeFile", () => {
  test("reads YAML and JSON alike", async () => {
    const expected = { recipe: "sft", settings: { optimizer: { learningRate: 1e-3 }, levels: [1, 2] } };
    const yaml = file("a.yaml", "recipe: sft\noptimizer: {learningRate: 1e-3}\nlevels:\n  - 1\n  - 2\n");
    const json = file("a.json", '{\n\t"recipe": "sft",\n\t"optimizer": {"learningRate": 1e-3},\n\t"levels": [1, 2]\n}');
    expect(await readRecipeFile(yaml)).toEqual(expected);
    expect(await readRecipeFile(json)).toEqual(expected);
  });

  test("what formatRecipe writes reads back the same", async () => {
    const settings = { text: "a: #b\n", none: null, numbers: [1e-8, -0.5], "odd key": { on: true } };
    const path = file("b.yaml", formatRecipe("rlvr", settings));
    expect(await readRecipeFile(path)).toEqual({ recipe: "rlvr", settings });
  });

  test.each([
    ["broken.json", "{", "expected JSON, got"],
    ["broken.yaml", "a: [1", "expected YAML, got"],
    ["twice.yaml", "recipe: sft\nrecipe: rlvr\n", "expected YAML, got Map keys must be unique"],
    ["list.yaml", "- 1\n", "expected keys and values"],
    ["empty.yaml", "", "expected keys and values"],
    ["nameless.yaml", "steps: 3\n", "expected `recipe: NAME`, got no such key"],
    ["number.yaml", "recipe: 3\n", "expected `recipe: NAME`, got 3"],
    ["large.yaml", `recipe: sft\ntext: ${"x".repeat(1 << 20)}\n`, "expected at most 1048576 bytes"],
  ])("refuses %s", async (name, text, message) => {
    await expect(readRecipeFile(file(name, text))).rejects.toMatchObject({
      code: "RECIPE_FILE",
      message: expect.stringContaining(message) as string,
    });
  });

  test("refuses aliases that multiply", async () => {
    const levels = Array.from({ length: 9 }, (_, i) => `l${i + 1}: &l${i + 1} [${Array(9).fill(`*l${i}`).join(", ")}]`);
    const path = file("bomb.yaml", `recipe: sft\nl0: &l0 [x]\n${levels.join("\n")}\n`);
    await expect(readRecipeFile(path)).rejects.toMatchObject({ code: "RECIPE_FILE" });
  });

  test("names a missing file", async () => {
    const path = join(folder, "none.yaml");
    await expect(readRecipeFile(path)).rejects.toThrow(`[recipe file ${path}] expected a file to read, got ENOENT`);
  });
});

describe("applySets", () => {
  test("puts values of every YAML kind at dotted keys, later ones over earlier ones", () => {
    const before = { grpo: { steps: 60, prompts: 24 } };
    const sets = [
      "grpo.steps=5",
      "rate=1e-3",
      "on=true",
      "name=a b=c",
      "none=null",
      "list=[1, x]",
      "deep.er.key={a: 1}",
      "rate=2",
    ];
    expect(applySets(before, sets)).toEqual({
      grpo: { steps: 5, prompts: 24 },
      rate: 2,
      on: true,
      name: "a b=c",
      none: null,
      list: [1, "x"],
      deep: { er: { key: { a: 1 } } },
    });
    expect(before).toEqual({ grpo: { steps: 60, prompts: 24 } });
  });

  test.each(["steps", "=3", "a..b=1", ".a=1", "__proto__.polluted=1", "a=[1", "a=*unknown"])("refuses %s", (set) => {
    expect(() => applySets({}, [set])).toThrow(expect.objectContaining({ code: "RECIPE_SET" }));
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test("does not reach into a value, nor into a prototype", () => {
    expect(() => applySets({ a: 3 }, ["a.b=1"])).toThrow("[--set] expected a to be a group of settings, got 3");
    expect(applySets({}, ["constructor.x=1"])).toEqual({ constructor: { x: 1 } });
  });
});

test.each([
  ["sft", false],
  ["sft.yaml", true],
  ["x.yml", true],
  ["x.json", true],
  ["./sft", true],
  ["quick-start", false],
])("looksLikeFile(%s) is %s", (target, expected) => expect(looksLikeFile(target)).toBe(expected));

// Settings as rows: what describeSettings reads out of a schema, the shared groups among them.
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { describeSettings, expectation, jsonSchema, knownKeys } from "../../src/config/describe.js";
import { advantage, aggregate, loss, optimizer, sampling } from "../../src/config/fragments.js";

const row = (schema: z.ZodType, key: string) => describeSettings(schema).find((setting) => setting.key === key);

describe("describeSettings", () => {
  test("gives the fields of a list of groups one key for all of them", () => {
    const source = z.strictObject({ path: z.string().describe("a path"), weight: z.number().gt(0).default(1) });
    const schema = z.strictObject({ data: z.union([z.string(), z.array(source).min(1)]).default("x") });
    expect(describeSettings(schema)).toEqual([
      { key: "data", type: "string | list of object", default: "x", range: "of at least 1 items", help: "" },
      { key: "data[].path", type: "string", default: undefined, range: "", help: "a path" },
      { key: "data[].weight", type: "number", default: 1, range: "> 0", help: "" },
    ]);
  });

  test("gives key, type, default, range and help of each kind of setting", () => {
    const schema = z.strictObject({
      rate: z.number().gt(0).max(1).default(0.5).describe("a rate"),
      low: z.number().min(-2),
      high: z.number().lt(9).default(1),
      steps: z.int().min(1).default(3),
      kind: z.enum(["a", "b"]).default("a"),
      threads: z.union([z.literal("auto"), z.int().min(1)]).default("auto"),
      names: z.array(z.string().min(1)).min(1).max(4).default(["x"]),
      label: z.string().min(2).nullable().default(null),
      on: z.boolean().default(false),
    });
    expect(describeSettings(schema)).toEqual([
      { key: "rate", type: "number", default: 0.5, range: "in (0, 1]", help: "a rate" },
      { key: "low", type: "number", default: undefined, range: ">= -2", help: "" },
      { key: "high", type: "number", default: 1, range: "< 9", help: "" },
      { key: "steps", type: "integer", default: 3, range: ">= 1", help: "" },
      { key: "kind", type: "a | b", default: "a", range: "", help: "" },
      { key: "threads", type: '"auto" | integer', default: "auto", range: ">= 1", help: "" },
      {
        key: "names",
        type: "list of string",
        default: ["x"],
        range: "of 1 to 4 items, each of at least 1 characters",
        help: "",
      },
      { key: "label", type: "string | null", default: null, range: "of at least 2 characters", help: "" },
      { key: "on", type: "boolean", default: false, range: "", help: "" },
    ]);
  });

  test("a group's default goes before its fields' own", () => {
    const schema = z.strictObject({
      group: z.strictObject({ a: z.int().default(1), b: z.int().default(2) }).prefault({ b: 7 }),
    });
    expect(row(schema, "group.a")?.default).toBe(1);
    expect(row(schema, "group.b")?.default).toBe(7);
  });

  test("describes the fields of a nullable group and of each form of a union, once each", () => {
    const schema = z.strictObject({
      evaluation: z
        .strictObject({ every: z.int().default(5) })
        .nullable()
        .default(null),
      data: z.discriminatedUnion("from", [
        z.strictObject({ from: z.literal("file"), path: z.string() }),
        z.strictObject({ from: z.literal("task"), task: z.string() }),
      ]),
    });
    expect(row(schema, "data.from")?.type).toBe('"file" | "task"');
    expect(describeSettings(schema).map(({ key }) => key)).toEqual([
      "evaluation.every",
      "data.from",
      "data.path",
      "data.task",
    ]);
  });

  test("known keys hold the groups too", () => {
    const schema = z.strictObject({ a: z.strictObject({ b: z.strictObject({ c: z.int() }), d: z.int() }), e: z.int() });
    expect(knownKeys(describeSettings(schema))).toEqual(["a", "a.b", "a.b.c", "a.d", "e"]);
  });

  test("the JSON Schema is that of the input: a setting with a default is optional, unknown keys are not allowed", () => {
    const schema = jsonSchema(z.strictObject({ a: z.int().default(1), b: z.string() }));
    expect(schema).toMatchObject({ type: "object", required: ["b"], additionalProperties: false });
  });
});

describe("the shared groups", () => {
  const schema = z.strictObject({
    optimizer: optimizer({ learningRate: 3e-3, schedule: "cosine" }),
    sampling: sampling({ maxTokens: 144 }),
    loss: loss(),
    advantage: advantage({ scaleByStd: false }),
    aggregate: aggregate("constant"),
  });

  test("every field has a default and help text", () => {
    const settings = describeSettings(schema);
    expect(settings.length).toBe(9 + 12 + 14 + 4 + 1);
    expect(settings.filter(({ default: value, help }) => value === undefined || help === "")).toEqual([]);
  });

  test("the defaults shown are those that apply", () => {
    const resolved: unknown = schema.parse({});
    const value = (key: string) =>
      key.split(".").reduce<unknown>((at, part) => (at as Record<string, unknown>)[part], resolved);
    for (const setting of describeSettings(schema)) expect(value(setting.key), setting.key).toEqual(setting.default);
    expect(resolved).toMatchObject({
      optimizer: { learningRate: 3e-3, schedule: "cosine", beta1: 0.9 },
      aggregate: "constant",
    });
  });

  test.each([
    ["optimizer", { learningRate: 0 }],
    ["optimizer", { beta1: 1 }],
    ["optimizer", { warmupSteps: 1.5 }],
    ["optimizer", { schedule: "step" }],
    ["sampling", { topP: 0 }],
    ["sampling", { maxTokens: 0 }],
    ["sampling", { temperature: Number.NaN }],
    ["loss", { clipLow: 1.1 }],
    ["loss", { dualClip: 0.5 }],
    ["advantage", { eps: -1 }],
  ])("%s refuses %j", (group, value) => {
    expect(schema.safeParse({ [group]: value }).success).toBe(false);
  });

  test("expectations read as noun phrases", () => {
    const said = (key: string) => expectation(row(schema, key)!);
    expect(said("optimizer.learningRate")).toBe("number in (0, 1]");
    expect(said("optimizer.warmupSteps")).toBe("integer >= 0");
    expect(said("optimizer.schedule")).toBe("constant | cosine | linear");
  });
});

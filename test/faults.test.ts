// That the faults which `npm run test:faults` plants can still be planted: each place is found once, and the tests that it turns red exist.
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { faults } from "./faults/faults.mjs";

const root = new URL("..", import.meta.url);
const textOf = (file: string) => readFileSync(new URL(file, root), "utf8");

describe("planted faults", () => {
  test("every law has one", () => {
    const laws = new Set(faults.map(({ law }) => law));
    for (let law = 1; law <= 10; law++) expect(laws).toContain(law);
  });

  test.each(faults.map((fault) => [`${fault.law}: ${fault.name}`, fault] as const))("%s", (_, fault) => {
    expect(textOf(fault.file).split(fault.find).length - 1, `times in ${fault.file}`).toBe(1);
    expect(fault.replace).not.toBe(fault.find);
    expect(fault.tests.filter((file) => !existsSync(new URL(file, root)))).toEqual([]);
  });
});

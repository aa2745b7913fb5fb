// The tests of a fuzz target: its inputs, and the error codes that they reach.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { codesOf, root } from "./codes.js";
import { type Report, reportLine, runDirected, runFuzz, type Target } from "./fuzz.js";

const TIMEOUT = 900_000;
/** Of the inputs, each way: mutations that all end alike show little. */
const LEAST_SHARE = 0.02;

/** `open` makes the target once, before its tests. */
export function fuzzTests(name: string, open: () => Target | Promise<Target>): void {
  describe(`fuzz ${name}`, () => {
    let target: Target;
    let report: Report;

    test("every input is read and written again, or refused by a typed error", { timeout: TIMEOUT }, async () => {
      target = await open();
      report = await runFuzz(target);
      save(report);
      const refused = Object.values(report.refused).reduce((sum, count) => sum + count, 0);
      if (process.env.ZAZEN_FUZZ_INPUT !== undefined) return;
      expect(report.accepted).toBeGreaterThan(report.inputs * LEAST_SHARE);
      expect(refused).toBeGreaterThan(report.inputs * LEAST_SHARE);
    });

    test("every error code of its readers is reached, and no other", { timeout: TIMEOUT }, async () => {
      const reached = new Set([...(await runDirected(target)), ...Object.keys(report.refused)]);
      const known = codesOf(target.readers);
      const elsewhere = target.elsewhere ?? {};
      const beneath = codesOf(target.beneath ?? []);
      expect([...known].filter((code) => !reached.has(code) && elsewhere[code] === undefined)).toEqual([]);
      expect([...reached].filter((code) => !known.has(code) && !beneath.has(code))).toEqual([]);
      for (const [code, path] of Object.entries(elsewhere)) {
        expect([...known], "a code of the readers that the inputs do not reach").toContain(code);
        expect([...codesOf([path])], path).toContain(code);
      }
    });
  });
}

/** For `npm run test:fuzz`, which adds them up. */
function save(report: Report): void {
  console.log(reportLine(report));
  const folder = join(root, "build", "fuzz");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${report.name}.json`), JSON.stringify(report));
}

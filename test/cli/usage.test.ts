// The command line as a user meets it: help, usage errors, exit codes, and what help may load.
import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { CommanderError } from "commander";
import { describe, expect, test } from "vitest";
import { collect, integer, number } from "../../src/cli/flags.js";
import { exitCodeOf, InterruptedError } from "../../src/cli/output.js";
import { InputError, ZazenError } from "../../src/errors.js";
import { cliIsBuilt, failure, main, root, zazen } from "./process.js";

const commands = ["train", "try", "recipes", "compare", "generate", "logprobs", "doctor"];

describe.skipIf(!cliIsBuilt)("as a process", { timeout: 30_000 }, () => {
  test("help lists every command, the exit codes and what --json does", () => {
    const { status, stdout, stderr } = zazen(["--help"]);
    for (const word of [...commands, "Exit codes", "--json"]) expect(stdout).toContain(word);
    expect([status, stderr]).toEqual([0, ""]);
  });

  test.each(commands)("%s --help has examples, --json and exit codes", (command) => {
    const { status, stdout } = zazen([command, "--help"]);
    for (const part of ["Examples:", `zazen ${command}`, "--json", "Exit codes"]) expect(stdout).toContain(part);
    expect(status).toBe(0);
  });

  test("the built command can be executed, as npx does", () => {
    expect(statSync(main).mode & 0o111).toBe(0o111);
  });

  test("--version is the package's", () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    expect(zazen(["--version"]).stdout).toBe(`${version}\n`);
  });

  test.each([
    [[], ""],
    [["trian"], "unknown command 'trian'"],
    [["train"], "expected RECIPE or FILE, or --resume, got neither"],
    [["train", "a", "b"], "too many arguments"],
    [["try"], "missing required argument 'TRIAL'"],
    [["try", "rlmd"], '[try] expected one of rlmt, quickstart, got "rlmd"; did you mean "rlmt"?'],
    [["try", "rlmt", "--set", "grpo.stepz=1"], 'did you mean "grpo.steps"?'],
    [["recipes", "--jsn"], "unknown option '--jsn'"],
    [["compare"], "missing required argument 'RUN'"],
    [["compare", "a"], "expected a run folder with recipe.json, got none"],
    [["generate", "--prompt", "x"], "required option '--model <DIR>' not specified"],
    [["generate", "--model", "m", "--prompt", "x", "--n", "0"], "Expected an integer in [1, 65536]"],
    [["generate", "--model", "m", "--prompt", "x", "--top-p", "0"], "Expected a number in (0, 1]"],
    [["generate", "--model", "m", "--prompt", "x", "--stop", ""], "[generate --stop] expected text"],
    [["logprobs", "--model", "m"], "expected one of --text and --ids, got neither"],
    [["logprobs", "--model", "m", "--ids", "1", "--text", "x"], "expected one of --text and --ids, got both"],
    [["logprobs", "--model", "m", "--ids", "1,x"], '[logprobs --ids] expected integers with commas between, got "x"'],
    [["logprobs", "--model", "m", "--ids", ""], "expected at least one token, got none"],
  ])("%j ends with 2", (args, message) => {
    const { status, stdout, stderr } = zazen(args);
    expect(stderr).toContain(message);
    expect([status, stdout]).toEqual([2, ""]);
  });

  test("with --json an error is one JSON line on stderr, and stdout is empty", () => {
    expect(failure(["trian"])).toEqual({
      status: 2,
      code: "USAGE",
      message: expect.stringContaining("train") as string,
    });
    expect(failure(["logprobs", "--model", "m", "--ids", ""])).toMatchObject({ status: 2, code: "EMPTY_PROMPT" });
  });
});

test("help loads commander and nothing heavier", () => {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const lines = readFileSync(path, "utf8").matchAll(/^(?:import|export) (?!type\b)[^;]*?from "([^"]+)"/gm);
    for (const [, target = ""] of lines) {
      if (target.startsWith(".")) visit(join(dirname(path), target.replace(/\.js$/, ".ts")));
      else if (!target.startsWith("node:")) packages.add(target);
    }
  };
  visit(join(root, "src", "cli", "main.ts"));
  expect([...packages]).toEqual(["commander"]);
  expect([...seen].filter((path) => !path.includes("/cli/")).map((path) => path.slice(root.length))).toEqual([
    "src/errors.ts",
    "src/config/json.ts",
    "src/report/format.ts",
  ]);
});

describe("flags", () => {
  test("integer and number take their range and nothing else", () => {
    const count = integer({ min: 1, max: 8 });
    expect(["1", "8"].map(count)).toEqual([1, 8]);
    for (const text of ["0", "9", "1.5", "", "x", "1e1", " 1", "0x1"])
      expect(() => count(text)).toThrow("an integer in [1, 8]");
    const mass = number({ min: 0, max: 1, aboveMin: true });
    expect(["1", ".5", "1e-3"].map(mass)).toEqual([1, 0.5, 0.001]);
    for (const text of ["0", "1.1", "NaN", "Infinity", ""]) expect(() => mass(text)).toThrow("a number in (0, 1]");
    expect(() => integer({ min: 0 })("-1")).toThrow("an integer >= 0");
    expect(() => integer({ min: 0 })("9007199254740993")).toThrow("an integer >= 0");
  });

  test("collect keeps the order", () => expect(collect("b", collect("a", undefined))).toEqual(["a", "b"]));
});

test("exit codes", () => {
  expect(exitCodeOf(new InputError("X", "x"))).toBe(2);
  expect(exitCodeOf(new CommanderError(1, "x", "x"))).toBe(2);
  expect(exitCodeOf(new ZazenError("X", "x"))).toBe(1);
  expect(exitCodeOf(new Error("x"))).toBe(1);
  expect(exitCodeOf("x")).toBe(1);
  expect(exitCodeOf(new InterruptedError("SIGINT", "x"))).toBe(130);
  expect(exitCodeOf(new InterruptedError("SIGTERM", "x"))).toBe(143);
});

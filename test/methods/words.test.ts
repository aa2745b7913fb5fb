// The command that a run ends with is one that a shell takes.
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { sayNext, shellWord, trialPrompt } from "../../src/methods/words.js";
import { trialSplit } from "../../src/tasks/countdown-trial.js";
import { Run } from "../../src/train/run.js";
import { eventsOf, testHost } from "../helpers/run-host.js";

test.each(["runs/a-1/model", "my runs/model", "it's", '<q> 1 -> $HOME `x` "y"', "a\\b"])(
  "a shell reads %j as one word",
  (text) => {
    expect(execFileSync("sh", ["-c", `printf %s ${shellWord(text)}`], { encoding: "utf8" })).toBe(text);
  },
);

test("the command is kept on lines of its own that continue each other", () => {
  const host = testHost();
  using run = new Run(host, "test", {}, []);
  sayNext(run, "runs/my model", "a b");
  const [note] = eventsOf(host, "note");
  const command = note!.text.split("\n").filter((line) => line.startsWith("  "));
  expect(command).toHaveLength(2);
  const echoed = command.join("\n").replace("npx zazen", "printf '%s|'");
  expect(execFileSync("sh", ["-c", echoed], { encoding: "utf8" })).toBe("generate|--model|runs/my model|--prompt|a b|");
});

test("the prompt of the built-in trial ends where its model begins", () => {
  const problem = trialSplit().evaluation[0]!;
  const asked = `<q> ${problem.numbers.join(" ")} -> ${problem.target}`;
  expect(trialPrompt(problem, true)).toBe(`${asked} <think>`);
  expect(trialPrompt(problem, false)).toMatch(new RegExp(`^${asked} `));
});

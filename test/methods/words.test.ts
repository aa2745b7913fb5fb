// The command that a run ends with is one that a shell takes.
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { type Question, sayNext, shellWord, standIn, trialQuestion } from "../../src/methods/words.js";
import { THINKING_FORMATS } from "../../src/prompt/thinking.js";
import { trialSplit } from "../../src/tasks/countdown-trial.js";
import { Run } from "../../src/train/run.js";
import { eventsOf, testHost } from "../helpers/run-host.js";

/** What a run says of a model. */
function commandFor(question: Question): string {
  const host = testHost();
  using run = new Run(host, "test", {}, []);
  sayNext(run, "runs/my model", question);
  return eventsOf(host, "note")[0]!.text.replace("\nTry the model:\n", "");
}

/** Its words, as a shell reads them. */
function wordsOf(command: string): string[] {
  const echoed = command.replace("npx zazen", "printf '%s|'");
  return execFileSync("sh", ["-c", echoed], { encoding: "utf8" }).split("|").slice(0, -1);
}

test.each(["runs/a-1/model", "my runs/model", "it's", '<q> 1 -> $HOME `x` "y"', "a\\b"])(
  "a shell reads %j as one word",
  (text) => {
    expect(execFileSync("sh", ["-c", `printf %s ${shellWord(text)}`], { encoding: "utf8" })).toBe(text);
  },
);

test("the command is kept on lines of its own that continue each other", () => {
  const command = commandFor({ prompt: "a b" });
  expect(command.split("\n").filter((line) => line.startsWith("  "))).toHaveLength(2);
  expect(wordsOf(command)).toEqual(["generate", "--model", "runs/my model", "--prompt", "a b"]);
});

test("a model of a zero start is asked as it was trained, in plain text with its marks", () => {
  const words = wordsOf(commandFor(standIn(THINKING_FORMATS["zero-thinking"])));
  expect(words.slice(3)).toEqual(["--prompt", expect.any(String), "--raw", "--stop", "</response>"]);
  expect(words[4]).toMatch(/<think> and <\/think>[\s\S]*User: <query>YOUR PROMPT<\/query>\nAssistant:$/);
  expect(standIn(THINKING_FORMATS["warm-thinking"])).toEqual({ prompt: "YOUR PROMPT" });
});

test("the prompt of the built-in trial ends where its model begins", () => {
  const problem = trialSplit().evaluation[0]!;
  const asked = `<q> ${problem.numbers.join(" ")} -> ${problem.target}`;
  expect(trialQuestion(problem, true).prompt).toBe(`${asked} <think>`);
  expect(trialQuestion(problem, false).prompt).toMatch(new RegExp(`^${asked} `));
});

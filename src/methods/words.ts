// What every recipe says in the same words: how large the model is, and the command that tries it.
import type { EngineLike } from "../engine/like.js";
import { decodeTrial, encodePrompt, type TrialProblem } from "../tasks/countdown-trial.js";
import type { Run } from "../train/run.js";

export function saySize(run: Run, { parameters }: EngineLike): void {
  run.note("info", `parameters: ${parameters.toLocaleString("en-US")}`);
}

/** The command that samples from the model of a run, for a shell in the clone. */
export function sayNext(run: Run, model: string, prompt: string): void {
  run.note(
    "info",
    `\nTry the model:\n  npx zazen generate --model ${shellWord(model)} \\\n    --prompt ${shellWord(prompt)}\n`,
  );
}

/** Where the prompts are the user's own. */
export const standInPrompt = "YOUR PROMPT";

/** A problem of the built-in trial as its model reads it. */
export function trialPrompt(problem: TrialProblem, thinking: boolean): string {
  return decodeTrial(encodePrompt(problem, { thinking }));
}

/** `text` as one word of a POSIX shell. */
export function shellWord(text: string): string {
  return /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

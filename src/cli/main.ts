#!/usr/bin/env node
// The `zazen` command: one file a subcommand beside this one. Heavy modules are imported by a command's action, so that help is quick.
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { compareCommand } from "./compare.js";
import { doctorCommand } from "./doctor.js";
import { generateCommand } from "./generate.js";
import { judgeCommand } from "./judge.js";
import { logprobsCommand } from "./logprobs.js";
import { commonHelp, reportFailure } from "./output.js";
import { recipesCommand } from "./recipes.js";
import { handleSignals } from "./signals.js";
import { trainCommand } from "./train.js";
import { tryCommand } from "./try.js";

const help = `
Examples:
  zazen train quickstart
  zazen try rlmt
  zazen recipes quickstart
  zazen generate --model DIR --prompt "Once upon a time" --n 4
  zazen doctor

\`zazen COMMAND --help\` shows a command's flags and examples.${commonHelp}`;

function program(): Command {
  const zazen = new Command("zazen")
    .description("Teaches language models to think: RL post-training on a native engine.")
    .version(version())
    .addHelpText("after", help)
    .configureOutput({ outputError: () => {} }) // reportFailure says it, in the form that was asked for
    .exitOverride();
  const commands = [
    trainCommand(),
    tryCommand(),
    recipesCommand(),
    compareCommand(),
    generateCommand(),
    logprobsCommand(),
    judgeCommand(),
    doctorCommand(),
  ];
  for (const command of commands) zazen.addCommand(command.copyInheritedSettings(zazen));
  return zazen;
}

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** A reader that goes away, such as `head`, is no failure. */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
}

process.stdout.on("error", onOutputError);
handleSignals();
try {
  await program().parseAsync();
} catch (error) {
  reportFailure(error, process.argv.includes("--json"));
}

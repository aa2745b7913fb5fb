// The template of messages end to end: which marks it writes, and that it writes none twice.
import { expect, test } from "vitest";
import { ChatTemplate, type Message } from "../../src/prompt/chat.js";
import { endToEndTemplate } from "../../src/prompt/end-to-end.js";

const turns: readonly Message[] = [
  { role: "user", content: "Why? " },
  { role: "assistant", content: "So\n" },
];
const render = (marks: Parameters<typeof endToEndTemplate>[0], messages = turns, addGenerationPrompt = false) =>
  ChatTemplate.from(endToEndTemplate(marks), "test").render(messages, { addGenerationPrompt });

test("writes messages as they are, between the marks that there are", async () => {
  expect(await render({ begin: "<s>", end: '<"end">' })).toBe('<s>Why? So\n<"end">');
  expect(await render({ begin: null, end: null })).toBe("Why? So\n");
});

test("leaves the answer open where one is to be generated", async () => {
  expect(await render({ begin: "<s>", end: "</s>" }, turns.slice(0, 1), true)).toBe("<s>Why? ");
});

test("writes no mark twice", async () => {
  const whole = [{ role: "assistant", content: "<s>Why? So</s>" }] as const;
  expect(await render({ begin: "<s>", end: "</s>" }, whole)).toBe("<s>Why? So</s>");
});

import { describe, expect, test } from "vitest";
import {
  answerOf,
  beforeAnswer,
  type FormatChange,
  formatOf,
  NULL_ANSWER,
  plainPrompt,
  type Start,
  splitThinking,
  THINKING_FORMATS,
  type ThinkingFormat,
  writeCompletion,
} from "../../src/prompt/thinking.js";

const {
  "warm-thinking": warm,
  "warm-plain": plain,
  "zero-thinking": zero,
  "zero-plain": zeroPlain,
  trial,
} = THINKING_FORMATS;
const FIRST = { mark: "first" } as const;
const LAST = { mark: "last" } as const;

describe("warm start", () => {
  test("answer after the mark, left-trimmed only", () => {
    expect(splitThinking("<think>\n plan \n</think>\n\n yes \n", warm, FIRST)).toEqual({
      thinking: "plan",
      answer: "yes \n",
      wellFormed: true,
    });
  });

  test("training splits at the first mark, evaluation at the last", () => {
    const text = "<think>a</think>b</think>c";
    expect(splitThinking(text, warm, FIRST)).toEqual({ thinking: "a", answer: "b</think>c", wellFormed: true });
    expect(splitThinking(text, warm, LAST)).toEqual({ thinking: "a</think>b", answer: "c", wellFormed: true });
  });

  test("no mark: [NULL] when strict, else the whole text", () => {
    const missing = { thinking: null, wellFormed: false };
    expect(splitThinking("<think> on and on", warm, FIRST)).toEqual({ ...missing, answer: NULL_ANSWER });
    expect(splitThinking("<think> on and on", warm, { mark: "first", strict: false })).toEqual({
      ...missing,
      answer: "<think> on and on",
    });
    expect(NULL_ANSWER).toBe("[NULL]");
  });

  test("the text of the end token is dropped, once and at the end", () => {
    const end = { mark: "first", endText: "<|im_end|>" } as const;
    expect(splitThinking("<think>z</think>y<|im_end|>", warm, end).answer).toBe("y");
    expect(splitThinking("<think>z</think>a<|im_end|>b", warm, end).answer).toBe("a<|im_end|>b");
  });

  test("an opening mark may stand in the prompt", () => {
    expect(splitThinking("z</think>y", warm, FIRST)).toEqual({ thinking: "z", answer: "y", wellFormed: true });
  });

  test("without thinking the whole text is the answer", () => {
    const whole = { thinking: null, answer: " y </think> ", wellFormed: true };
    expect(splitThinking(" y </think> ", plain, FIRST)).toEqual(whole);
  });
});

describe("zero", () => {
  test("answer between its marks, trimmed on both sides", () => {
    expect(splitThinking(" <think> z </think> <response> y </response> tail", zero, FIRST)).toEqual({
      thinking: "z",
      answer: "y",
      wellFormed: true,
    });
  });

  test("the end mark counts from the opening mark that was taken", () => {
    const text = "<response>a</response><response>b</response>";
    expect(splitThinking(text, zeroPlain, FIRST).answer).toBe("a");
    expect(splitThinking(text, zeroPlain, LAST).answer).toBe("b");
    expect(splitThinking("</response><response>b</response>", zeroPlain, FIRST).answer).toBe("b");
  });

  test("a missing end mark: [NULL] when strict, else the rest", () => {
    const text = "<think> z </think> <response> y on";
    expect(splitThinking(text, zero, FIRST)).toEqual({ thinking: "z", answer: NULL_ANSWER, wellFormed: false });
    const loose = splitThinking(text, zero, { mark: "first", strict: false });
    expect(loose).toEqual({ thinking: "z", answer: "y on", wellFormed: false });
  });

  test("the instruction names the marks that the split looks for", () => {
    const instruction = (format: ThinkingFormat) => (format.prompt.style === "plain" ? format.prompt.instruction : "");
    const both = plainPrompt(instruction(zero), "Why?");
    for (const mark of ["<think>", "</think>", "<response>", "</response>"]) expect(both).toContain(mark);
    expect(both.endsWith("\n\nUser: <query>Why?</query>\nAssistant:")).toBe(true);
    expect(instruction(zeroPlain)).toContain("<response>");
    expect(instruction(zeroPlain)).not.toContain("think");
  });
});

test("the trial's format", () => {
  const text = "19 - 16 = 3 ; 14 - 3 = 11 ok </think> <answer> 14 - ( 19 - 16 ) </answer> <eos>";
  expect(splitThinking(text, trial, LAST)).toEqual({
    thinking: "19 - 16 = 3 ; 14 - 3 = 11 ok",
    answer: "14 - ( 19 - 16 )",
    wellFormed: true,
  });
});

describe("completions of the paper's four settings", () => {
  test.each([
    [warm, "<think>\nz\n</think>\n\ny"],
    [plain, "y"],
    [zero, " <think> z </think> <response> y </response>"],
    [zeroPlain, " <response> y </response>"],
  ])("$name", (format, text) => {
    expect(writeCompletion(format, "z", "y")).toBe(text);
    const thought = format.thought === null ? null : "z";
    for (const phase of ["training", "evaluation"] as const) {
      expect(answerOf(format, text, phase)).toEqual({ thought, answer: "y", malformed: false });
      for (const end of ["<|eot_id|>", "<|im_end|>"]) expect(answerOf(format, text + end, phase).answer).toBe("y");
    }
  });

  test("text of a thought or an answer that looks like a place stays as it is", () => {
    expect(writeCompletion(zero, "{answer}", "{thought} $& {answer}")).toBe(
      " <think> {answer} </think> <response> {thought} $& {answer} </response>",
    );
    expect(plainPrompt("{query}", "{instruction} $1")).toBe(
      "{query}\n\nUser: <query>{instruction} $1</query>\nAssistant:",
    );
  });

  test("training takes the first mark, evaluation the last; without one it is [NULL], or the whole text", () => {
    const twice = "<think>a</think>b</think>c";
    expect(answerOf(warm, twice, "training")).toEqual({ thought: "a", answer: "b</think>c", malformed: false });
    expect(answerOf(warm, twice, "evaluation")).toEqual({ thought: "a</think>b", answer: "c", malformed: false });
    expect(answerOf(warm, "b", "training")).toEqual({ thought: null, answer: NULL_ANSWER, malformed: true });
    const loose = formatOf("warm", true, { strict: false });
    expect(answerOf(loose, "b", "training")).toEqual({ thought: null, answer: "b", malformed: true });
    expect(answerOf(warm, "<think>z</think>", "training").answer).toBe("");
  });

  test("the part before the answer ends with its mark", () => {
    expect(beforeAnswer("<think>a</think>b</think>c", warm, "first")).toBe("<think>a</think>");
    expect(beforeAnswer("<think>a</think>b</think>c", warm, "last")).toBe("<think>a</think>b</think>");
    expect(beforeAnswer("b", warm, "first")).toBeNull();
    expect(beforeAnswer("b", plain, "first")).toBe("");
  });
});

describe("formats that differ", () => {
  test("marks go into instruction and completion", () => {
    const change = { thoughtOpen: "<plan>", thoughtClose: "</plan>", answerOpen: "<out>", answerClose: "</out>" };
    const format = formatOf("zero", true, change);
    expect(writeCompletion(format, "z", "y")).toBe(" <plan> z </plan> <out> y </out>");
    const { prompt } = format;
    expect(prompt.style === "plain" && prompt.instruction).toMatch(
      /between <plan> and <\/plan>.*between <out> and <\/out>/,
    );
    const renamed = formatOf("warm", true, { thoughtClose: "[/T]", thoughtOpen: "[T]" });
    expect(answerOf(renamed, "[T]\nz\n[/T]\n\ny", "training")).toEqual({ thought: "z", answer: "y", malformed: false });
  });

  test("a prompt of one's own", () => {
    const { prompt } = formatOf("zero", true, { instruction: "Think.", template: "{instruction} Q: {query} A:" });
    expect(prompt).toMatchObject({ style: "plain", instruction: "Think.", template: "{instruction} Q: {query} A:" });
    expect(formatOf("warm", true, { instruction: "Be brief." }).prompt).toEqual({
      style: "chat",
      instruction: "Be brief.",
    });
  });

  const jinja = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}";
  const wrong: [string, Start, boolean, FormatChange, RegExp][] = [
    [
      "an instruct model's chat template for a zero start",
      "zero",
      true,
      { template: jinja },
      /\{query\} once.*write \{query\}/,
    ],
    ["two places for the query", "zero", false, { template: "{query} {query}" }, /\{query\} once/],
    [
      "marks of an answer that the completion lacks",
      "warm",
      true,
      { answerOpen: "<a>" },
      /marks split .*set completion/,
    ],
    ["a completion without the answer", "zero", true, { completion: "<think>{thought}</think>" }, /marks split/],
    [
      "a completion with a thought where there is none",
      "warm",
      false,
      { completion: "{thought}{answer}" },
      /marks split/,
    ],
    ["no mark to split at", "warm", true, { answerOpen: "" }, /marks split/],
  ];
  test.each(wrong)("%s is an error by name", (_, start, thinking, change, message) => {
    const making = () => formatOf(start, thinking, change);
    expect(making).toThrow(message);
    expect(making).toThrow(expect.objectContaining({ code: "FORMAT" }));
  });
});

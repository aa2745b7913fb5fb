import { describe, expect, test } from "vitest";
import {
  NULL_ANSWER,
  plainPrompt,
  splitThinking,
  THINKING_FORMATS,
  type ThinkingFormat,
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

// A teacher's text becomes a demonstration, or is left out for the reason that is true of it.
import { beforeAll, describe, expect, test } from "vitest";
import {
  languageDetector,
  readTeacher,
  rowFault,
  STRAY_TAGS,
  type TeacherTags,
  type WarmStartFilters,
} from "../../src/prompt/warm-start.js";

describe("readTeacher", () => {
  test.each([
    "<think>\nplan\n</think>\n<response>\nThe answer.\n</response>",
    "  <think>plan</think><response>The answer.</response>\n",
    "<think>plan</think>\n\n\n<response> The answer. </response>",
  ])("%j", (text) => expect(readTeacher(text)).toEqual({ thinking: "plan", response: "The answer." }));

  test("what stands in z and y stays as it is but for blanks around it", () => {
    const [thinking, response] = ["1. a <b>\n\n2. c", "## d\n\n- <e/>  f"];
    expect(readTeacher(`<think>${thinking}</think>\n<response>${response}</response>`)).toEqual({ thinking, response });
  });

  test.each([
    ["", "no thinking first"],
    ["Sure! <think>a</think><response>b</response>", "no thinking first"],
    ["<response>b</response><think>a</think>", "no thinking first"],
    ["<think>a<response>b</response>", "not one thinking block"],
    ["<think>a</think><think>b</think><response>c</response>", "not one thinking block"],
    ["<think>a</think><response>b</think></response>", "not one thinking block"],
    ["<think>a</think> b", "no response block"],
    ["<think>a</think><response>cut of", "no response block"],
    ["<think>a</think><response>b</response><response>c</response>", "no response block"],
    ["<think>a <response>b</response> c</think>", "stray tags"],
    ["<think>a <response> b</think> c</response>", "stray tags"],
    ["<think>a</think></response>b<response>", "stray tags"],
    ["<think>a</think> so <response>b</response>", "text outside of the blocks"],
    ["<think>a</think><response>b</response> I hope it helps.", "text outside of the blocks"],
  ])("%j: %s", (text, fault) => expect(readTeacher(text)).toBe(fault));

  test("takes other tags", () => {
    const tags: TeacherTags = { thinking: ["[P]", "[/P]"], response: ["[R]", "[/R]"] };
    expect(readTeacher("[P]a[/P][R]b[/R]", tags)).toEqual({ thinking: "a", response: "b" });
    expect(readTeacher("<think>a</think><response>b</response>", tags)).toBe("no thinking first");
  });
});

describe("languageDetector", () => {
  let languageOf: (text: string) => string;
  beforeAll(async () => {
    languageOf = await languageDetector();
  });

  test.each([
    "Hi",
    "Hello",
    "Explain TCP vs UDP",
    "Recipe for tiramisu",
    "Define entropy",
    "Define la entropía",
    "1 + 1",
  ])("%s: too short to tell", (text) => expect(languageOf(text)).toBe(""));

  test.each([
    ["Explain what makes a good loaf of bread rise.", "en"],
    ["Explique la différence entre TCP et UDP, et pourquoi.", "fr"],
    ["今天天气怎么样", "zh"],
    ["Что такое энтропия?", "ru"],
  ])("%s: %s", (text, language) => expect(languageOf(text)).toBe(language));

  test("a first guess that is not sure is none", () =>
    expect(languageOf("Hi 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21")).toBe(""));
});

describe("rowFault", () => {
  let filters: WarmStartFilters;
  beforeAll(async () => {
    filters = { strayTags: STRAY_TAGS, languageOf: await languageDetector() };
  });
  const english = {
    prompt: "How do I bake bread?",
    thinking: "The user wants a recipe. I list what is needed, then the steps.",
    response: "Mix flour, water, salt and yeast, let the dough rise for an hour, and bake it.",
  };
  const french = {
    prompt: "Comment faire du pain ?",
    thinking: "L'utilisateur veut une recette. Je donne d'abord les ingrédients, puis les étapes.",
    response: "Mélangez la farine, l'eau, le sel et la levure, laissez lever la pâte et faites cuire.",
  };

  test("a whole row passes", () => expect(rowFault(english, filters)).toBeNull());

  test("a text whose language cannot be told passes", () =>
    expect(rowFault({ prompt: "1 + 1", thinking: "2", response: "2" }, filters)).toBeNull());

  test.each([
    [{ thinking: " \n" }, "empty thinking"],
    [{ response: "" }, "empty response"],
    [{ thinking: "first <answer> then" }, "stray tags"],
    [{ response: "so <|im_end|> it is" }, "stray tags"],
    [french, "another language"],
  ])("%j: %s", (change, fault) => expect(rowFault({ ...english, ...change }, filters)).toBe(fault));

  test("every language is welcome where none is asked for", () =>
    expect(rowFault(french, { ...filters, languageOf: null })).toBeNull());
});

// Which tokens of conversations the assistant wrote: by {% generation %} where the chat template has it, else as the difference between the
// text up to a turn and the text with it, each checked. Then texts with such parts become ids with a mask. Leaves out which turns count.
import { InputError } from "../errors.js";
import type { ChatTemplate, Conversation, MarkedText, Message } from "./chat.js";
import type { Tokenizer } from "./tokenizer.js";

/** A conversation to learn from. */
export interface Lesson {
  readonly messages: readonly Message[];
  /** Indices of the assistant's messages that are trained on, ascending, at least one. */
  readonly turns: readonly number[];
  /** "file:12", for errors. */
  readonly place: string;
}

/** A text, its trained parts, and whether the end token is to be the last that is trained in a part. */
export interface LessonText extends MarkedText {
  readonly place: string;
  /** Parts were found as differences, so they may hold what the template writes behind the end token, such as a line break. */
  readonly differences: boolean;
}

export interface MaskedIds {
  readonly ids: Int32Array; // [T]
  readonly mask: Uint8Array; // [T], 1 where trained on
}

/** Texts of conversations with the turns that are trained on. Throws InputError CHAT_TEMPLATE_*. */
export async function lessonTexts(template: ChatTemplate, lessons: readonly Lesson[]): Promise<LessonText[]> {
  return template.marksGeneration ? generatedParts(template, lessons) : differences(template, lessons);
}

async function generatedParts(template: ChatTemplate, lessons: readonly Lesson[]): Promise<LessonText[]> {
  const marked = await template.renderMarked(lessons);
  return marked.map(({ text, spans }, i) => {
    const { messages, turns, place } = lessons[i]!;
    const all = assistantTurns(messages);
    if (spans.length !== all.length) {
      throw templateError(
        place,
        `{% generation %} once for each of the ${all.length} turns of the assistant`,
        `${spans.length} parts`,
      );
    }
    const chosen = spans.filter((_, turn) => turns.includes(all[turn]!));
    return { text, spans: chosen, place, differences: false };
  });
}

async function differences(template: ChatTemplate, lessons: readonly Lesson[]): Promise<LessonText[]> {
  const conversations = lessons.flatMap(({ messages, turns, place }): Conversation[] => [
    { messages, place, addGenerationPrompt: false },
    ...turns.flatMap((turn) => [
      { messages: messages.slice(0, turn), place, addGenerationPrompt: true },
      { messages: messages.slice(0, turn + 1), place, addGenerationPrompt: false },
    ]),
  ]);
  const texts = (await template.renderEach(conversations))[Symbol.iterator]();
  const next = () => texts.next().value as string;
  return lessons.map(({ turns, place }) => {
    const text = next();
    const spans = turns.map((turn) => difference(text, next(), next(), turn, place));
    return { text, spans, place, differences: true };
  });
}

/** The part of a turn: from the end of the text up to it to the end of the text with it, both of which have to begin the whole text. */
function difference(whole: string, before: string, after: string, turn: number, place: string): [number, number] {
  if (whole.startsWith(after) && after.startsWith(before) && after.length > before.length) {
    return [before.length, after.length];
  }
  throw templateError(
    place,
    `each turn of the assistant after the text of the turns before it, as the model will see them`,
    `another text at message ${turn + 1}`,
  );
}

export function assistantTurns(messages: readonly Message[]): number[] {
  return messages.flatMap(({ role }, index) => (role === "assistant" ? [index] : []));
}

function templateError(place: string, expected: string, got: string): InputError {
  return new InputError(
    "CHAT_TEMPLATE_PREFIX",
    `[${place}] expected the chat template to write ${expected}, got ${got}; set trainOn to last, mark the turns in the template by ` +
      "{% generation %}, or use {prompt, completion}",
  );
}

/**
 * Ids of texts with masks. A part's ids are those of the whole text wherever its edges are edges of tokens there. Where a token would lie
 * across an edge, the parts are encoded each by itself, as the model meets them when it answers. `endId` ends what is trained of a part
 * that was found as a difference. Throws InputError CHAT_MASK where the tokenizer cannot spell the parts by themselves.
 */
export async function maskedIds(
  tokenizer: Tokenizer,
  texts: readonly LessonText[],
  endId: number | null,
): Promise<MaskedIds[]> {
  const pieces = texts.map(piecesOf);
  const encode = (list: readonly string[]) => tokenizer.encodeAll(list, { addSpecialTokens: false });
  const wholes = await encode(texts.map(({ text }) => text));
  const encoded = await encode(pieces.flat().map(({ text }) => text));
  let at = 0;
  const result: MaskedIds[] = [];
  for (const [i, lesson] of texts.entries()) {
    const own = pieces[i]!.map(({ trained }) => ({ trained, ids: encoded[at++]! }));
    const parts = (await alignParts(tokenizer, lesson, own, wholes[i]!)).map((part) => endPart(part, lesson, endId));
    result.push({
      ids: concat(parts.map(({ ids }) => ids)),
      mask: Uint8Array.from(parts.flatMap(({ ids, trained }) => Array.from(ids, (_, t) => (t < trained ? 1 : 0)))),
    });
  }
  return result;
}

interface Piece {
  readonly text: string;
  readonly trained: boolean;
}

/** The text, cut at the edges of its parts. */
function piecesOf({ text, spans }: MarkedText): Piece[] {
  const pieces: Piece[] = [];
  let end = 0;
  for (const [from, to] of spans) {
    pieces.push({ text: text.slice(end, from), trained: false }, { text: text.slice(from, to), trained: true });
    end = to;
  }
  pieces.push({ text: text.slice(end), trained: false });
  return pieces.filter((piece) => piece.text !== "");
}

interface Part {
  readonly trained: boolean;
  readonly ids: Int32Array;
}

async function alignParts(tokenizer: Tokenizer, lesson: LessonText, parts: Part[], whole: Int32Array): Promise<Part[]> {
  const joined = concat(parts.map(({ ids }) => ids));
  if (same(joined, whole)) return parts;
  return (await partsOfWhole(tokenizer, lesson, whole)) ?? requireText(tokenizer, lesson, parts, joined);
}

/** The whole text's ids, cut where the text up to an edge is encoded as a beginning of them; null where it is not. */
async function partsOfWhole(tokenizer: Tokenizer, lesson: LessonText, whole: Int32Array): Promise<Part[] | null> {
  const pieces = piecesOf(lesson);
  const ends = pieces.map((_, i) => pieces.slice(0, i + 1).reduce((sum, { text }) => sum + text.length, 0));
  const beginnings = await tokenizer.encodeAll(
    ends.slice(0, -1).map((end) => lesson.text.slice(0, end)),
    { addSpecialTokens: false },
  );
  if (!beginnings.every((ids) => same(ids, whole.subarray(0, ids.length)))) return null;
  const cuts = [0, ...beginnings.map((ids) => ids.length), whole.length];
  return pieces.map(({ trained }, i) => ({ trained, ids: whole.subarray(cuts[i], cuts[i + 1]) }));
}

function requireText(tokenizer: Tokenizer, { place, text }: LessonText, parts: Part[], joined: Int32Array): Part[] {
  if (tokenizer.decode(joined) === text) return parts;
  throw new InputError(
    "CHAT_MASK",
    `[${place}] expected turns that the tokenizer can encode by themselves, got a token that lies across the edge of one; ` +
      "set trainOn to all, or correct the blanks at the edges of the messages",
  );
}

/** How many of a part's ids are trained on. */
function endPart({ trained, ids }: Part, { differences: open }: LessonText, endId: number | null) {
  if (!trained) return { ids, trained: 0 };
  const end = open && endId !== null ? ids.lastIndexOf(endId) : -1;
  return { ids, trained: end < 0 ? ids.length : end + 1 };
}

function concat(lists: readonly Int32Array[]): Int32Array {
  const result = new Int32Array(lists.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const list of lists) {
    result.set(list, at);
    at += list.length;
  }
  return result;
}

const same = (a: Int32Array, b: Int32Array): boolean => a.length === b.length && a.every((id, i) => id === b[i]);

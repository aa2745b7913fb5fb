// What each token of a vocabulary writes, as bytes: byte-level spelling (GPT-2, Llama 3, Qwen) and the sentencepiece-style one (Llama 2,
// Mistral: ▁ for a space, <0x0A> for a byte). Pure. Leaves out decoders that write a token differently depending on its neighbours.
import { InputError } from "../errors.js";

/** Token t writes bytes[offsets[t] .. offsets[t + 1]). */
export interface TokenBytes {
  readonly bytes: Uint8Array;
  readonly offsets: Int32Array; // [tokens + 1]
}

/** What a tokenizer.json says about its tokens. */
export interface Spelling {
  /** The vocabulary's own spelling of each id; null where there is none. */
  readonly tokens: readonly (string | null)[];
  readonly added: readonly { readonly id: number; readonly content: string; readonly special?: boolean }[];
  readonly decoder: Json | null;
}

type Json = Readonly<Record<string, unknown>>;
type Writer = (token: string) => Uint8Array;
type Step = (text: string) => string;

const encoder = new TextEncoder();
const BYTE = /^<0x([0-9A-Fa-f]{2})>$/;
/** They concern the whole text, or say what is done here anyhow. */
const NEUTRAL = new Set(["Fuse", "Strip"]);

/** Special tokens write nothing. Throws InputError TOKENIZER_UNSUPPORTED for a decoder that is not known, by its name. */
export function tokenBytes({ tokens, added, decoder }: Spelling): TokenBytes {
  const write = writerOf(decoder);
  const plain = new Map(added.map((token) => [token.id, token.special ? "" : token.content]));
  const parts = tokens.map((token, id) => {
    const content = plain.get(id);
    if (content !== undefined) return encoder.encode(content);
    return token === null ? new Uint8Array(0) : write(token);
  });
  const offsets = new Int32Array(parts.length + 1);
  for (const [id, part] of parts.entries()) offsets[id + 1] = offsets[id]! + part.length;
  const bytes = new Uint8Array(offsets[parts.length]!);
  for (const [id, part] of parts.entries()) bytes.set(part, offsets[id]);
  return { bytes, offsets };
}

function writerOf(decoder: Json | null): Writer {
  if (decoder === null) return (token) => encoder.encode(` ${token}`); // tokens are joined by spaces
  const parts = decoder.type === "Sequence" ? (decoder.decoders as Json[]) : [decoder];
  const steps: Step[] = [];
  let isByteLevel = false;
  let hasBytes = false;
  for (const part of parts) {
    if (part.type === "ByteLevel") isByteLevel = true;
    else if (part.type === "ByteFallback") hasBytes = true;
    else if (!NEUTRAL.has(String(part.type))) steps.push(stepOf(part));
  }
  return (token) => {
    const byte = hasBytes ? BYTE.exec(token) : null;
    if (byte !== null) return Uint8Array.of(Number.parseInt(byte[1]!, 16));
    const text = steps.reduce((written, step) => step(written), token);
    return isByteLevel ? byteLevel(text) : encoder.encode(text);
  };
}

function stepOf(part: Json): Step {
  const pattern = (part.pattern as Json | undefined)?.String;
  if (part.type === "Metaspace") return (text) => text.replaceAll(String(part.replacement ?? "▁"), " ");
  if (part.type === "Replace" && typeof pattern === "string")
    return (text) => text.replaceAll(pattern, String(part.content));
  const known = "ByteLevel, ByteFallback, Metaspace, Replace of a string, Fuse or Strip";
  throw new InputError(
    "TOKENIZER_UNSUPPORTED",
    `[tokenizer.json decoder] expected ${known}, got ${String(part.type)}; do without stop strings and constraints`,
  );
}

/** GPT-2's letters for bytes: printable ones stand for themselves, the others for 256 and up, in order. */
const BYTE_OF_LETTER = new Map<string, number>();
for (let byte = 0, next = 256; byte < 256; byte++) {
  const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  BYTE_OF_LETTER.set(String.fromCodePoint(isPrintable ? byte : next++), byte);
}

function byteLevel(text: string): Uint8Array {
  return Uint8Array.from(
    Array.from(text).flatMap((letter) => BYTE_OF_LETTER.get(letter) ?? [...encoder.encode(letter)]),
  );
}

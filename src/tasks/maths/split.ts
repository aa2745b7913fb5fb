// Cutting lists of tokens where nothing is open: at commas, signs of relation, `\pm`.
import type { Token } from "./tokens.js";

const OPENING: ReadonlySet<string> = new Set(["(", "[", "{", "\\{", "lfloor", "lceil"]);
const CLOSING: ReadonlySet<string> = new Set([")", "]", "}", "\\}", "rfloor", "rceil"]);
const MAX_PLUS_MINUS = 4; // 16 values

/** +1 for a token that opens something, -1 for one that closes, else 0. */
function step({ kind, text }: Token): -1 | 0 | 1 {
  if (kind === "begin" || (kind === "symbol" && OPENING.has(text))) return 1;
  return kind === "end" || (kind === "symbol" && CLOSING.has(text)) ? -1 : 0;
}

export const isSymbol = (token: Token | undefined, text: string): boolean =>
  token !== undefined && token.kind === "symbol" && token.text === text;

export interface Parts {
  /** What stands between the separators: one part more than separators. */
  readonly parts: readonly (readonly Token[])[];
  readonly separators: readonly Token[];
}

/** Cuts at the separators outside of all brackets. */
export function splitAt(tokens: readonly Token[], isSeparator: (token: Token) => boolean): Parts {
  const parts: (readonly Token[])[] = [];
  const separators: Token[] = [];
  let depth = 0;
  let start = 0;
  for (const [at, token] of tokens.entries()) {
    if (depth === 0 && isSeparator(token)) {
      parts.push(tokens.slice(start, at));
      separators.push(token);
      start = at + 1;
    }
    depth += step(token);
  }
  return { parts: [...parts, tokens.slice(start)], separators };
}

/** Whether the first token opens what the last one closes. Brackets of intervals may differ: (3, 4]. */
export function isEnclosed(tokens: readonly Token[]): boolean {
  if (tokens.length < 2 || step(tokens[0]!) !== 1) return false;
  let depth = 0;
  for (const [at, token] of tokens.entries()) {
    depth += step(token);
    if (depth <= 0) return at === tokens.length - 1;
  }
  return false;
}

/** Place of the first token outside of all brackets, that `isWanted`; -1 when there is none. */
export function findOutside(tokens: readonly Token[], isWanted: (token: Token) => boolean): number {
  let depth = 0;
  for (const [at, token] of tokens.entries()) {
    if (depth === 0 && isWanted(token)) return at;
    depth += step(token);
  }
  return -1;
}

/** One list of tokens for each way to read the `\pm` signs: independent of each other, but tied when there is a `\mp`. Null: too many. */
export function plusMinusVariants(tokens: readonly Token[]): readonly (readonly Token[])[] | null {
  const signs = tokens.flatMap((token, at) => (isSymbol(token, "+-") || isSymbol(token, "-+") ? [at] : []));
  if (signs.length === 0) return [tokens];
  const isTied = signs.some((at) => isSymbol(tokens[at], "-+"));
  if (!isTied && signs.length > MAX_PLUS_MINUS) return null;
  const choices = isTied ? 2 : 2 ** signs.length;
  return Array.from({ length: choices }, (_, choice) => {
    const variant = [...tokens];
    for (const [order, at] of signs.entries()) {
      const isMinus = ((choice >> (isTied ? 0 : order)) & 1) === 1;
      variant[at] = { kind: "symbol", text: isMinus === isSymbol(tokens[at], "+-") ? "-" : "+" };
    }
    return variant;
  });
}

// Cuts LaTeX or plain maths into tokens, one name for each meaning (symbols.ts). One pass, no regular expressions. Thousands separators
// are settled here: `{,}`, `,\!`, `\,` and, outside brackets, a plain comma before groups of exactly three digits.
import {
  ALIASES,
  CHARACTERS,
  COMMANDS,
  FUNCTIONS,
  GREEK,
  LAYOUT,
  MIN_WORD,
  MULTIPLIERS,
  SHORT_WORDS,
  SPELLED_OUT,
  TEXT_COMMANDS,
} from "./symbols.js";

export type TokenKind = "number" | "name" | "function" | "command" | "symbol" | "text" | "begin" | "end";

export interface Token {
  readonly kind: TokenKind;
  /** A number without separators, a letter, a name, a sign, words, an environment. */
  readonly text: string;
}

export interface TokenRules {
  /** What a plain comma before three digits is, outside brackets. */
  readonly plainComma: "thousands" | "separator";
}

export const MAX_MATHS_LENGTH = 512; // UTF-16 units of an answer
const MAX_TEXT_NESTING = 2; // \text{} inside \text{}

const GROUP = 3; // digits between thousands separators
const SEPARATORS = ["{,}", ",\\!", "\\,", "\\ ", "\u2009", "\u202f", "\u00a0"] as const;
const BLANKS = " \t\n\r~\u00a0\u2009\u202f";
const DROPPED = `${BLANKS}$£€`; // `$` is both a delimiter and a dollar

const isDigit = (text: string | undefined): boolean =>
  text !== undefined && text >= "0" && text <= "9" && text.length === 1;
const isLetter = (text: string | undefined): boolean =>
  text !== undefined && ((text >= "a" && text <= "z") || (text >= "A" && text <= "Z"));

const WORD_SYMBOLS: ReadonlySet<string> = new Set("in cup deg infinity approx lfloor rfloor lceil rceil".split(" "));

/** Cuts one text; no tokens (null) for a character that no rule knows, a group that does not close, or too many groups of text in one. */
class Tokeniser {
  private readonly tokens: Token[] = [];
  private at = 0;
  private brackets = 0;

  constructor(
    private readonly text: string,
    private readonly rules: TokenRules,
    private readonly nesting: number,
  ) {}

  read(): readonly Token[] | null {
    while (this.at < this.text.length) if (!this.readOne(this.text[this.at]!)) return null;
    return this.tokens;
  }

  private push(kind: TokenKind, text: string): true {
    if (kind === "symbol" && (text === "(" || text === "[" || text === "\\{")) this.brackets++;
    if (kind === "symbol" && (text === ")" || text === "]" || text === "\\}")) this.brackets--;
    this.tokens.push({ kind, text });
    return true;
  }

  private readOne(character: string): boolean {
    if (character === "\\") return this.readCommand();
    if (isDigit(character) || (character === "." && isDigit(this.text[this.at + 1]))) return this.readNumber();
    if (isLetter(character)) return this.readLetters();
    this.at++;
    if (DROPPED.includes(character)) return true;
    const spelled = SPELLED_OUT.get(character);
    if (spelled !== undefined) return this.splice(spelled);
    return this.readSign(character);
  }

  private readSign(character: string): boolean {
    const pair = character + (this.text[this.at] ?? "");
    const symbol = pair === "<=" || pair === ">=" || pair === "!=" || pair === "**" ? pair : CHARACTERS.get(character);
    if (symbol === undefined) return false;
    if (symbol === pair) this.at++;
    return this.push("symbol", symbol === "**" ? "^" : symbol);
  }

  private digits(from: number): number {
    let end = from;
    while (isDigit(this.text[end])) end++;
    return end;
  }

  /** Where the three digits behind a separator at `from` end, or -1. */
  private groupEnd(from: number): number {
    const isPlain = this.rules.plainComma === "thousands" && this.brackets <= 0 && this.nesting === 0;
    const written = SEPARATORS.find((separator) => this.text.startsWith(separator, from));
    let start = from + (written?.length ?? (isPlain && this.text[from] === "," ? 1 : 0));
    if (start === from) return -1;
    while (written === ",\\!" && this.text[start] === " ") start++;
    return this.digits(start) === start + GROUP ? start + GROUP : -1;
  }

  /** Digits with their separators taken out; all groups or none, so that 3,500,20 stays a list. */
  private wholePart(): string {
    const end = this.digits(this.at);
    const parts = [this.text.slice(this.at, end)];
    let last = end;
    for (
      let next = end - this.at <= GROUP && end > this.at ? this.groupEnd(end) : -1;
      next > 0;
      next = this.groupEnd(last)
    ) {
      parts.push(this.text.slice(next - GROUP, next));
      last = next;
    }
    const isBroken = last > end && this.text[last] === "," && isDigit(this.text[last + 1]);
    this.at = isBroken ? end : last;
    return isBroken ? parts[0]! : parts.join("");
  }

  private readNumber(): true {
    const whole = this.wholePart();
    const start = this.at;
    if (this.text[start] === "." && isDigit(this.text[start + 1])) this.at = this.digits(start + 1);
    const isEndless = this.text.startsWith(".\\overline", start) || this.text.startsWith(".\\bar", start);
    if (isEndless) this.at++;
    this.push("number", (whole === "" ? "0" : whole) + this.text.slice(start, this.at));
    return this.readExponent(this.at > start);
  }

  /** 1.5e-3 and 3e5; a sign only behind a decimal point, since 3e-5 may be a difference. */
  private readExponent(hasPoint: boolean): true {
    const mark = this.text[this.at];
    const isSigned = hasPoint && (this.text[this.at + 1] === "-" || this.text[this.at + 1] === "+");
    const start = this.at + (isSigned ? 2 : 1);
    if ((mark !== "e" && mark !== "E") || !isDigit(this.text[start])) return true;
    const end = this.digits(start);
    const sign = isSigned ? this.text[this.at + 1]! : "+";
    this.push("symbol", "*");
    this.push("number", "10");
    this.push("symbol", "^");
    this.push("symbol", sign);
    this.push("number", this.text.slice(start, end));
    this.at = end;
    return true;
  }

  private readLetters(): true {
    const start = this.at;
    while (isLetter(this.text[this.at])) this.at++;
    const run = this.text.slice(start, this.at);
    const word = run.toLowerCase();
    if (run === "sqrt") return this.push("command", "sqrt");
    if (run === "pi") return this.push("name", "pi");
    if (word === "infinity" || word === "inf") return this.push("symbol", "infinity");
    if (word === "percent") return this.push("symbol", "%");
    if (FUNCTIONS.has(run)) return this.push("function", run);
    if (run.length >= MIN_WORD || SHORT_WORDS.has(word)) return this.pushWords(run);
    for (const letter of run) this.push("name", letter);
    return true;
  }

  private readCommand(): boolean {
    let end = this.at + 1;
    while (isLetter(this.text[end])) end++;
    if (end === this.at + 1) end++; // a sign
    const written = this.text.slice(this.at + 1, end);
    this.at = end;
    if (written === "left" || written === "right") this.skipDot();
    if (written === "\\") return this.push("symbol", "\\\\");
    if (written === "" || BLANKS.includes(written) || LAYOUT.has(written)) return true;
    if (TEXT_COMMANDS.has(written)) return this.readText(written === "mathrm" || written === "operatorname");
    if (written === "begin" || written === "end") return this.readEnvironment(written);
    return this.pushCommand(ALIASES.get(written) ?? written);
  }

  private pushCommand(name: string): true {
    if (COMMANDS.has(name)) return this.push("command", name);
    if (FUNCTIONS.has(name)) return this.push("function", name);
    if (GREEK.has(name) || name === "pi") return this.push("name", name);
    if (name === "and" || name === "or") return this.push("text", name);
    if (name === "emptyset" || name === "varnothing") return this.push("symbol", "\\{") && this.push("symbol", "\\}");
    const isKnown = !isLetter(name[0]) || WORD_SYMBOLS.has(name);
    return this.push("symbol", isKnown ? name : `\\${name}`); // no parser knows the others, but texts with them can be compared
  }

  /** `\left.` and `\right.` draw nothing. */
  private skipDot(): void {
    if (this.text[this.at] === ".") this.at++;
  }

  /** The content of the group that opens here, or null; `at` moves behind it. */
  private group(): string | null {
    while (BLANKS.includes(this.text[this.at] ?? "x")) this.at++;
    if (this.text[this.at] !== "{") return null;
    const start = ++this.at;
    for (let open = 1; this.at < this.text.length; this.at++) {
      if (this.text[this.at] === "{") open++;
      if (this.text[this.at] === "}" && --open === 0) return this.text.slice(start, this.at++);
    }
    return null;
  }

  private readEnvironment(kind: "begin" | "end"): boolean {
    const name = this.group();
    if (name === "array" && kind === "begin" && this.group() === null) return false;
    return name !== null && this.push(kind, name);
  }

  /** Words; or what the words spell: a function, one upright letter, a number in a text group. */
  private readText(isUpright: boolean): boolean {
    const content = this.group()?.trim();
    if (content === undefined) return false;
    if (content === "") return true;
    const first = content[0]!;
    const isMaths =
      isDigit(first) || "-.$\\".includes(first) || FUNCTIONS.has(content) || content.toLowerCase() === "percent";
    if (isMaths || (isUpright && content.length === 1)) return this.splice(content);
    return this.pushWords(content);
  }

  /** Words; one that multiplies the number before it becomes a product. */
  private pushWords(words: string): true {
    const space = words.indexOf(" ");
    const first = (space < 0 ? words : words.slice(0, space)).toLowerCase();
    const factor = this.tokens.at(-1)?.kind === "number" ? MULTIPLIERS.get(first) : undefined;
    if (factor === undefined) return this.push("text", words);
    this.push("symbol", "*");
    this.push("number", factor);
    return space < 0 || this.push("text", words.slice(space + 1));
  }

  /** Tokens of another text, here. */
  private splice(text: string): boolean {
    if (this.nesting >= MAX_TEXT_NESTING) return false;
    const inner = new Tokeniser(text, this.rules, this.nesting + 1).read();
    for (const { kind, text: innerText } of inner ?? []) this.push(kind, innerText);
    return inner !== null;
  }
}

/** The tokens of a text, or null when it is too long or holds a sign that no rule knows. */
export function tokenise(text: string, rules: TokenRules): readonly Token[] | null {
  return text.length > MAX_MATHS_LENGTH ? null : new Tokeniser(text, rules, 0).read();
}

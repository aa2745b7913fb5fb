// Every error that Zazen throws on purpose. `code` is stable; the message reads `[where] expected X, got Y`, then what to do. What came may
// be a stranger's, so a message shows control characters as escapes, and leaves out the middle where it is very long.

/** Characters of a message, and those of them that are kept at its end, which says what to do. */
const LONGEST = 3_000;
const END = 500;
/** All but line breaks; and marks that turn the direction of text. */
const INVISIBLE = /[^\P{Cc}\n]|\p{Bidi_Control}/gu;

/** The root class: `error instanceof ZazenError`, then `error.code`. */
export class ZazenError extends Error {
  override readonly name: string = "ZazenError";
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(readable(message), options);
    this.code = code;
  }
}

/** Bad input from the user: files, flags, recipe keys, ids. The CLI exits with 2. */
export class InputError extends ZazenError {
  override readonly name: string = "InputError";
}

function readable(message: string): string {
  const left = message.length - LONGEST;
  const short =
    left > 0 ? `${message.slice(0, LONGEST - END)} ... (${left} characters) ... ${message.slice(-END)}` : message;
  return short.replaceAll(INVISIBLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

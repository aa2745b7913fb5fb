// Every error that Zazen throws on purpose. `code` is stable; the message reads `[where] expected X, got Y`, then what to do.

/** The root class: `error instanceof ZazenError`, then `error.code`. */
export class ZazenError extends Error {
  override readonly name: string = "ZazenError";
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Bad input from the user: files, flags, recipe keys, ids. The CLI exits with 2. */
export class InputError extends ZazenError {
  override readonly name: string = "InputError";
}

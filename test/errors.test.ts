// Messages of errors can be shown: what a file or a user put into them reaches no terminal as a command, and does not fill it.
import { expect, test } from "vitest";
import { InputError, ZazenError } from "../src/errors.js";

test("control characters and marks of direction are shown as escapes, line breaks are kept", () => {
  const { message, code } = new ZazenError("X_Y", "[a] got \u001b[2J\r\0\u009b\u202e\t,\nb \u00e9 \ud83d\ude00");
  expect(message).toBe("[a] got \\u001b[2J\\u000d\\u0000\\u009b\\u202e\\u0009,\nb \u00e9 \ud83d\ude00");
  expect(code).toBe("X_Y");
});

test("a long message keeps its place and what to do", () => {
  const { message } = new InputError("X_Y", `[file] expected a name, got ${"x".repeat(1e6)}; correct it`);
  expect(message.length).toBeLessThan(3_100);
  expect(message).toMatch(/^\[file\] expected a name, got x+ \.\.\. \(\d+ characters\) \.\.\. x+; correct it$/);
});

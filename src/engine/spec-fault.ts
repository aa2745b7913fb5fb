// How a model spec is found wanting: in the words of the file or of the code that it came from.
import { InputError } from "../errors.js";
import type { ModelSpec } from "./types.js";

/** Who is at fault in a message: a file with its names, or a spec in code with ours. */
export interface Voice {
  readonly code: "CONFIG_INVALID" | "SPEC_INVALID";
  readonly where: string;
  /** What to do about it; ends every message. */
  readonly remedy: string;
  readonly name: (field: keyof ModelSpec) => string;
}

/** `detail` follows the name of the field: the place inside it. */
export function fault(voice: Voice, field: keyof ModelSpec, expected: string, got: unknown, detail = ""): InputError {
  return new InputError(
    voice.code,
    `[${voice.where}] ${voice.name(field)}${detail}: expected ${expected}, got ${shown(got)}; ${voice.remedy}`,
  );
}

/** A value of the file in few characters. */
export function shown(value: unknown): string {
  const text = json(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "nothing";
  } catch {
    return "a value nested too deeply to show"; // JSON.parse reads deeper than stringify writes
  }
}

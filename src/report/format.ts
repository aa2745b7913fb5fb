// Numbers, durations and foreign text as a terminal shows them. Leaves out layout.

/** "45 s", "1 m 05 s", "2 h 03 m". */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const minutes = Math.floor(whole / 60);
  if (minutes === 0) return `${whole} s`;
  const two = (value: number) => String(value).padStart(2, "0");
  if (minutes < 60) return `${minutes} m ${two(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
}

/** "950", "31.2k", "4.1M". */
export function compact(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  return value >= 1e3 ? `${(value / 1e3).toFixed(1)}k` : value.toFixed(0);
}

/** Three significant digits, without a tail of zeros. */
export function short(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
}

/** Text without control and direction characters: what a model writes must not steer the terminal. Line breaks and tabs stay. */
export function safeText(text: string): string {
  return text.replaceAll(/(?![\n\t])[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/gu, "\u{fffd}");
}

/** At most `length` characters, the last one "…" when some are left out. */
export function clip(text: string, length: number): string {
  const characters = [...text];
  return characters.length <= length ? text : `${characters.slice(0, Math.max(0, length - 1)).join("")}…`;
}

/** Lines of at most `width` characters, broken at spaces; a longer word keeps its length. Breaks in the text stay. */
export function wrap(text: string, width: number): readonly string[] {
  return text.split("\n").flatMap((line) => wrapLine(line, width));
}

function wrapLine(text: string, width: number): readonly string[] {
  if ([...text].length <= width) return [text];
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) ?? "";
    if (line === "") lines[lines.length - 1] = word;
    else if ([...line].length + 1 + [...word].length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

type Style = (text: string) => string;

export interface Palette {
  readonly bold: Style;
  readonly dim: Style;
  readonly warning: Style;
}

/** Styles that mark text with escape codes, or leave it as it is. */
export function palette(colour: boolean): Palette {
  const style =
    (on: number, off: number): Style =>
    (text) =>
      colour ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  return { bold: style(1, 22), dim: style(2, 22), warning: style(33, 39) };
}

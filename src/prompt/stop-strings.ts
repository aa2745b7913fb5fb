// Stop strings in text: it ends before the one that ended its sample. The ids stay whole. Pure.

/** The text before the stop string that ended it; all of it where none did. */
export function beforeStop(text: string, stop: string | null): string {
  const at = stop === null ? -1 : text.indexOf(stop);
  return at < 0 ? text : text.slice(0, at);
}

/** Length of the end of a text that may be the beginning of a stop string, and so is not certain yet. */
export function uncertain(text: string, stops: readonly string[]): number {
  const longest = Math.min(text.length, Math.max(0, ...stops.map((stop) => stop.length - 1)));
  for (let length = longest; length > 0; length--) {
    if (stops.some((stop) => stop.startsWith(text.slice(-length)))) return length;
  }
  return 0;
}

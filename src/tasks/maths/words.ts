// Answers in words, compared by their letters and digits.

const LAYOUT = " \t\n\r{}$\\";

/** Letters and digits of words, in small letters: "(C)" and "c", "4:30 p.m." and "4:30 pm" are the same. */
export function wordsOf(flat: string): string {
  const kept = [...flat.toLowerCase()].filter((character) => !LAYOUT.includes(character)).join("");
  const points = [...kept].filter((character, at) => character !== "." || /\d/.test(kept[at + 1] ?? "")).join("");
  return /^\(?[a-z][).]?$/.test(points) ? points.replace("(", "").replace(")", "") : points;
}

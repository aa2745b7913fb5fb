// Units behind a number. A unit may be left out, and units that are not known are not compared; two known units must agree.

const NAMES: Readonly<Record<string, string>> = {
  mm: "mm millimeter millimeters millimetre millimetres",
  cm: "cm centimeter centimeters centimetre centimetres",
  m: "m meter meters metre metres",
  km: "km kilometer kilometers kilometre kilometres",
  in: "in inch inches",
  ft: "ft foot feet",
  yd: "yd yard yards",
  mi: "mi mile miles",
  mg: "mg milligram milligrams",
  g: "g gram grams",
  kg: "kg kilogram kilograms",
  lb: "lb lbs pound pounds",
  s: "s sec secs second seconds",
  min: "min mins minute minutes",
  h: "h hr hrs hour hours",
  day: "day days",
  week: "week weeks",
  month: "month months",
  year: "year years",
  dollar: "dollar dollars usd",
  cent: "cent cents",
  am: "am",
  pm: "pm",
};

const KNOWN: ReadonlyMap<string, string> = new Map(
  Object.entries(NAMES).flatMap(([unit, names]) => names.split(" ").map((name) => [name, unit] as const)),
);

const POWER_WORDS: ReadonlyMap<string, string> = new Map([
  ["square", "2"],
  ["sq", "2"],
  ["cubic", "3"],
  ["cu", "3"],
]);

/** Whether a word can be a unit of this table. */
export function isKnownUnit(word: string): boolean {
  return KNOWN.has(word.toLowerCase());
}

/** One name for all ways to write a unit ("square inches", "inches^2"), or null for a unit that is not known. */
export function canonicalUnit(text: string): string | null {
  const caret = text.indexOf("^");
  const written =
    caret < 0 ? "" : [...text.slice(caret)].filter((character) => character >= "0" && character <= "9").join("");
  const words = (caret < 0 ? text : text.slice(0, caret)).toLowerCase().replaceAll(".", "").split(" ");
  const named = words.filter((word) => word !== "");
  const power = POWER_WORDS.get(named[0] ?? "");
  const unit = KNOWN.get(named[power === undefined ? 0 : 1] ?? "");
  if (unit === undefined || named.length > (power === undefined ? 1 : 2)) return null;
  return `${unit}^${power ?? (written === "" ? "1" : written)}`;
}

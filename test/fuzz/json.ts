// JSON that may be wrong: a tree whose objects may repeat a key and whose scalars are kept as they are spelled, so that a mutation can say
// what JSON.stringify cannot. Leaves out parsing: trees come from values.

/** A scalar as it is spelled, well or badly; or a whole value that is not to be looked into. */
export interface Scalar {
  readonly kind: "scalar";
  readonly text: string;
}

export interface Container {
  readonly kind: "object" | "array";
  readonly entries: Entry[];
}

export type JsonTree = Scalar | Container;

/** A member of an object or an item of an array, whose key is "". */
export interface Entry {
  key: string;
  value: JsonTree;
}

/** An entry by its place, so that it can be taken out and doubled. */
export interface Slot {
  readonly entries: Entry[];
  readonly index: number;
}

export const scalar = (text: string): Scalar => ({ kind: "scalar", text });

export function treeOf(value: unknown): JsonTree {
  if (Array.isArray(value)) return { kind: "array", entries: value.map((item) => ({ key: "", value: treeOf(item) })) };
  if (typeof value !== "object" || value === null) return scalar(JSON.stringify(value));
  const entries = Object.entries(value).map(([key, member]) => ({ key, value: treeOf(member) }));
  return { kind: "object", entries };
}

export function writeTree(tree: JsonTree): string {
  if (tree.kind === "scalar") return tree.text;
  const isObject = tree.kind === "object";
  const parts = tree.entries.map(({ key, value }) => (isObject ? `${JSON.stringify(key)}:` : "") + writeTree(value));
  return isObject ? `{${parts.join(",")}}` : `[${parts.join(",")}]`;
}

export function slotsOf(tree: JsonTree): Slot[] {
  if (tree.kind === "scalar") return [];
  const { entries } = tree;
  return entries.flatMap(({ value }, index) => [{ entries, index }, ...slotsOf(value)]);
}

export function copyTree(tree: JsonTree): JsonTree {
  if (tree.kind === "scalar") return tree;
  return { kind: tree.kind, entries: tree.entries.map(({ key, value }) => ({ key, value: copyTree(value) })) };
}

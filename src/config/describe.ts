// A recipe's settings as rows: key, type, default, range, help, all read from its schema's JSON Schema.
// It knows the parts of JSON Schema that settings need (numbers, strings, enums, lists, groups); the rest shows as "any".
import { type ZodType, z } from "zod";
import type { OnDisk, OnResume } from "./fragments.js";

export interface Setting {
  /** Dotted: "optimizer.learningRate". */
  readonly key: string;
  readonly type: string;
  /** Undefined: the setting has to be given. */
  readonly default: unknown;
  /** "" when every value of the type will do. */
  readonly range: string;
  readonly help: string;
  /** Whether it may change when a run is resumed; absent: it may not. */
  readonly resume?: OnResume;
  /** What is given may be a secret by mistake: a message does not show it. */
  readonly secret?: boolean;
  readonly disk?: OnDisk;
}

/** The parts of a JSON Schema that are read here. */
interface Node {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly resume?: OnResume;
  readonly secret?: boolean;
  readonly disk?: OnDisk;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Node>>;
  readonly additionalProperties?: boolean | Node;
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
  readonly oneOf?: readonly Node[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

/** JSON Schema of what a user may write: settings with a default are optional. */
export function jsonSchema(schema: ZodType): Record<string, unknown> {
  return z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
}

/** Every setting of a recipe, in the order of its schema. */
export function describeSettings(schema: ZodType): readonly Setting[] {
  return rows("", jsonSchema(schema) as Node, undefined, "", {});
}

/** Keys of settings and of the groups that hold them: "optimizer", "optimizer.learningRate", ... */
export function knownKeys(settings: readonly Setting[]): readonly string[] {
  const keys = settings.flatMap(({ key }) => {
    const parts = key.split(".");
    return parts.map((_, end) => parts.slice(0, end + 1).join("."));
  });
  return [...new Set(keys)];
}

/** "number in [0, 1]": what a setting's value should be. */
export function expectation(setting: Setting): string {
  return setting.range === "" ? setting.type : `${setting.type} ${setting.range}`;
}

/**
 * `outer` is the default that an enclosing group gives to this key; it goes before the node's own. `group` is what the group says of all
 * that it holds.
 */
function rows(
  key: string,
  node: Node,
  outer: unknown,
  groupHelp: string,
  group: Pick<Setting, "resume">,
): readonly Setting[] {
  const own = outer === undefined ? node.default : outer;
  const help = node.description ?? groupHelp;
  const resume = node.resume === undefined ? group : { resume: node.resume };
  const groups = [node, ...branches(node)].filter((each) => each.properties !== undefined);
  if (groups.length === 0) {
    const { secret, disk } = node;
    const marks = { ...(secret === true && { secret }), ...(disk !== undefined && { disk }) };
    const row = { key, type: typeOf(node), default: own, range: rangeOf(node), help, ...resume, ...marks };
    return [row, ...itemRows(key, node)];
  }
  return [...mergeProperties(groups)].flatMap(([name, child]) =>
    rows(join(key, name), child, field(own, name), "", resume),
  );
}

/** The fields of a list of groups: "data[].weight". */
function itemRows(key: string, node: Node): readonly Setting[] {
  const items = [node, ...branches(node)].flatMap((each) => (each.items === undefined ? [] : [each.items]));
  const groups = items.filter((item) => [item, ...branches(item)].some((each) => each.properties !== undefined));
  return groups.flatMap((each) => rows(`${key}[]`, each, undefined, "", {}));
}

/** A field that several forms of a union have takes any of their values. */
function mergeProperties(groups: readonly Node[]): ReadonlyMap<string, Node> {
  const merged = new Map<string, Node>();
  for (const [name, child] of groups.flatMap((each) => Object.entries(each.properties ?? {}))) {
    const known = merged.get(name);
    merged.set(name, known === undefined ? child : { ...known, anyOf: [...(known.anyOf ?? [known]), child] });
  }
  return merged;
}

const branches = (node: Node): readonly Node[] => node.anyOf ?? node.oneOf ?? [];

const join = (group: string, name: string): string => (group === "" ? name : `${group}.${name}`);

function field(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function typeOf(node: Node): string {
  if (branches(node).length > 0)
    return [...new Set(branches(node).flatMap((one) => typeOf(one).split(" | ")))].join(" | ");
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.enum !== undefined) return node.enum.map(String).join(" | ");
  if (node.type === "array") return `list of ${node.items === undefined ? "any" : typeOf(node.items)}`;
  if (node.type === "object") return typeof node.additionalProperties === "object" ? "map" : "object";
  if (typeof node.type === "string") return node.type;
  return node.type === undefined ? "any" : node.type.join(" | ");
}

function rangeOf(node: Node): string {
  const inner = branches(node)
    .map(rangeOf)
    .find((range) => range !== "");
  if (inner !== undefined) return inner;
  if (node.type === "array") {
    const each = node.items === undefined ? "" : rangeOf(node.items);
    const parts = [countRange(node.minItems, node.maxItems, "items"), each === "" ? "" : `each ${each}`];
    return parts.filter((part) => part !== "").join(", ");
  }
  if (node.type === "string") return countRange(node.minLength, node.maxLength, "characters");
  return numberRange(node);
}

function numberRange(node: Node): string {
  const low = bound(node.exclusiveMinimum, "(") ?? bound(node.minimum, "[");
  const high = bound(node.exclusiveMaximum, ")") ?? bound(node.maximum, "]");
  if (low !== null && high !== null) return `in ${low.bracket}${low.value}, ${high.value}${high.bracket}`;
  if (low !== null) return `${low.bracket === "(" ? ">" : ">="} ${low.value}`;
  if (high !== null) return `${high.bracket === ")" ? "<" : "<="} ${high.value}`;
  return "";
}

/** Integers carry the limits of a double in their JSON Schema; those are no range that a user needs to read. */
function bound(value: number | undefined, bracket: string): { value: number; bracket: string } | null {
  return value === undefined || Math.abs(value) >= Number.MAX_SAFE_INTEGER ? null : { value, bracket };
}

function countRange(least: number | undefined, most: number | undefined, unit: string): string {
  if (least === undefined && most === undefined) return "";
  if (most === undefined) return `of at least ${least} ${unit}`;
  return least === undefined ? `of at most ${most} ${unit}` : `of ${least} to ${most} ${unit}`;
}

// What an ONNX graph wants and gives, as it says itself: which inputs it is fed and which output is the score. Anything that is not known is
// refused by name. Pure.
import { InputError } from "../../../errors.js";

/** A tensor of a graph: a dimension is a number where the graph is made for that size alone, else a name. */
export interface TensorInfo {
  readonly name: string;
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

export interface GraphInfo {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
}

/** How a graph is fed: a name and type for each array that it wants. */
export interface GraphPlan {
  readonly inputs: readonly { readonly name: InputName; readonly type: "int64" | "int32" }[];
  readonly output: string;
}

export const INPUT_NAMES = ["input_ids", "attention_mask", "position_ids", "token_type_ids"] as const;
export type InputName = (typeof INPUT_NAMES)[number];

const OUTPUT_NAMES = ["logits", "score", "scores"];
const OUTPUT_TYPES = ["float32", "float16", "float64"];

/** Throws InputError ONNX_INPUTS, ONNX_OUTPUTS. */
export function planGraph({ inputs, outputs }: GraphInfo, where: string): GraphPlan {
  const unknown = inputs.filter(({ name }) => !isKnown(name));
  if (unknown.length > 0 || !inputs.some(({ name }) => name === "input_ids")) {
    throw inputError(where, `inputs ${INPUT_NAMES.join(", ")}, of which input_ids is needed`, namesOf(inputs));
  }
  for (const input of inputs) checkInput(input, where);
  return { inputs: inputs as GraphPlan["inputs"], output: scoreOf(outputs, where) };
}

const isKnown = (name: string): name is InputName => (INPUT_NAMES as readonly string[]).includes(name);
const namesOf = (tensors: readonly TensorInfo[]) => tensors.map(({ name }) => name).join(", ") || "none";
const shown = ({ name, type, shape }: TensorInfo) => `${name}: ${type} [${shape.join(", ")}]`;

function checkInput(input: TensorInfo, where: string): void {
  const isWhole = input.type === "int64" || input.type === "int32";
  const isOpen = input.shape.length === 2 && input.shape.every((size) => typeof size === "string" || size < 0);
  if (isWhole && isOpen) return;
  throw inputError(
    where,
    `${input.name}: int64 or int32 [batch, length] of any size`,
    shown(input),
    "with dynamic axes",
  );
}

function inputError(
  where: string,
  expected: string,
  got: string,
  how = "as a sequence classifier without a cache",
): InputError {
  return new InputError("ONNX_INPUTS", `[${where}] expected ${expected}, got ${got}; export the model again, ${how}`);
}

/** The output that is called like a score, or the only one. */
function scoreOf(outputs: readonly TensorInfo[], where: string): string {
  const named = outputs.find(({ name }) => OUTPUT_NAMES.includes(name));
  const output = named ?? (outputs.length === 1 ? outputs[0]! : undefined);
  if (output === undefined) throw outputError(where, `an output called ${OUTPUT_NAMES.join(" or ")}`, namesOf(outputs));
  const labels = output.shape.length === 2 ? output.shape[1]! : output.shape.length === 1 ? 1 : Number.NaN;
  const isOne = typeof labels === "string" || labels === 1 || labels < 0;
  if (isOne && OUTPUT_TYPES.includes(output.type)) return output.name;
  throw outputError(where, `one score a text: [batch, 1] or [batch], ${OUTPUT_TYPES.join(", ")}`, shown(output));
}

export function outputError(where: string, expected: string, got: string): InputError {
  const message = `[${where}] expected ${expected}, got ${got}; export a sequence classifier with one label (num_labels = 1)`;
  return new InputError("ONNX_OUTPUTS", message);
}

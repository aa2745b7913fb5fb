// What a mathematical expression is once it is read: a tree. Written by parse.ts, given a value by value.ts.
import type { Rational } from "./rational.js";

export type Infix = "+" | "-" | "*" | "/" | "^";

export type Unary = "negate" | "degrees" | "percent" | "factorial" | "abs" | "floor" | "ceil";

export type MathsExpression =
  | { readonly op: "number"; readonly value: Rational }
  | { readonly op: "name"; readonly name: string }
  | { readonly op: "constant"; readonly name: "pi" | "e" | "i" }
  | { readonly op: "infinity" }
  | { readonly op: Infix; readonly left: MathsExpression; readonly right: MathsExpression }
  | { readonly op: Unary; readonly of: MathsExpression }
  | { readonly op: "root"; readonly of: MathsExpression; readonly index: MathsExpression }
  | { readonly op: "call"; readonly name: string; readonly of: MathsExpression }
  | { readonly op: "log"; readonly base: MathsExpression; readonly of: MathsExpression }
  | { readonly op: "choose"; readonly left: MathsExpression; readonly right: MathsExpression };

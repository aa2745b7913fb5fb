// Tasks: problems, solvers and graders.
export * from "./choice.js";
export * from "./countdown.js";
export * from "./countdown-trial.js";
export * from "./exact.js";
export {
  type Expression,
  evaluate,
  type Fraction,
  formatExpression,
  type Operator,
  type ParseFailure,
  type ParseResult,
  parseExpression,
} from "./expression.js";
export * from "./format.js";
export * from "./maths.js";
export type { Grade, Problem } from "./task.js";

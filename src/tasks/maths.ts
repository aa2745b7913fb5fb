// Mathematical answers: where the answer is in a text, and whether it equals the reference. Exact rational arithmetic where it can be.
// Leaves out conversion of units, sets in builder notation, sums, integrals and limits: those are compared as text.
export { extractMathsAnswer, gsm8kReference, mathsReference } from "./maths/extract.js";
export { checkMathsReference, gradeMaths, type MathsFault, type MathsGrade } from "./maths/grade.js";
export { MAX_MATHS_LENGTH } from "./maths/tokens.js";

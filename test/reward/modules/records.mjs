// Writes down what it sees of a sample, to the file that the row names; likes long answers.
import { appendFileSync } from "node:fs";

export default ({ record, completion, thinking, answer }) => {
  appendFileSync(record.log, `${JSON.stringify({ completion, thinking, answer })}\n`);
  return answer === null ? -1 : answer.length;
};

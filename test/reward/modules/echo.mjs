/** Fails with the completion as its message, so that a test sees what is graded. */
export default ({ completion }) => {
  throw new Error(`graded: ${JSON.stringify(completion)}`);
};

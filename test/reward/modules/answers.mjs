// What a reward model could be in a test: it likes answers that say ok, and an answer that is none least.
export default ({ answer }) => (answer === null ? -1 : answer.split(" ").filter((word) => word === "ok").length);

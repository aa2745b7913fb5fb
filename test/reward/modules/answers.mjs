// What a reward model could be in a test: it likes answers that say ok, and sees [NULL] as it sees any text.
export default ({ answer }) => (answer === "[NULL]" ? -1 : answer.split(" ").filter((word) => word === "ok").length);

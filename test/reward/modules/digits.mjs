/** How many digits a completion has. */
export default ({ completion }) => completion.replace(/\D/g, "").length;

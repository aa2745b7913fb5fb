export default ({ completion }) => completion.length;

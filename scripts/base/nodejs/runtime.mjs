// A client of Lambda's Runtime API for handlers that are async functions or return a value.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import { existsSync } from "node:fs";
import { request } from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");

function call(method, name, body) {
  return new Promise((resolve, reject) => {
    const at = { host, port, method, path: `/2018-06-01/runtime/${name}` };
    const sent = request(at, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ headers: answer.headers, body: Buffer.concat(parts).toString() }));
      answer.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

function told(error) {
  const stack = String(error?.stack ?? "").split("\n").slice(1);
  return JSON.stringify({ errorType: error?.name ?? "Error", errorMessage: String(error?.message ?? error), stackTrace: stack });
}

async function load() {
  const [module, name] = (process.argv[2] ?? process.env._HANDLER).split(/\.(?=[^.]*$)/);
  const base = path.join(process.env.LAMBDA_TASK_ROOT, module);
  const file = [".mjs", ".js", ".cjs"].map((suffix) => base + suffix).find(existsSync);
  if (!file) throw new Error(`there is no module ${module}`);
  const handler = (await import(pathToFileURL(file).href))[name];
  if (typeof handler !== "function") throw new Error(`${module} has no function ${name}`);
  return handler;
}

let handler;
try {
  handler = await load();
} catch (error) {
  await call("POST", "init/error", told(error));
  process.exit(1);
}
for (;;) {
  const { headers, body } = await call("GET", "invocation/next");
  const id = headers["lambda-runtime-aws-request-id"];
  const context = { awsRequestId: id, invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"] };
  try {
    const answer = await handler(JSON.parse(body), context);
    await call("POST", `invocation/${id}/response`, JSON.stringify(answer ?? null));
  } catch (error) {
    await call("POST", `invocation/${id}/error`, told(error));
  }
}

// Text statistics over plain JSON-RPC: the whole protocol, with no SDK and no dependency.
"use strict";
const { readFile } = require("node:fs/promises");
const { createInterface } = require("node:readline");

const methods = {
  async count({ path, text }) {
    if ((path === undefined) === (text === undefined)) {
      throw { code: -32602, message: "either `path` or `text`, please" };
    }
    const bytes = text === undefined ? await readFile(path) : Buffer.from(text);
    const content = bytes.toString("latin1"); // a character per byte: wc knows no other
    return {
      lines: content.split("\n").length - 1,
      words: (content.match(/[^ \t\n\v\f\r]+/g) || []).length,
      bytes: bytes.length,
    };
  },
};

const protocol = {
  initialize({ versions }) {
    if (!versions.includes(1)) {
      const data = { origin: "plugin", supported: [1] };
      throw { code: -31008, message: "only version 1 is spoken here", data };
    }
    const plugin = { name: "nodewords", version: "1.0.0" };
    return { version: 1, features: ["ping"], plugin, methods: Object.keys(methods) };
  },
  shutdown: () => null,
  exit: () => process.exit(0),
  "$/ping": () => ({}),
};

const served = new Map(Object.entries({ ...protocol, ...methods }));

async function answer(line) {
  const { id, method, params } = JSON.parse(line);
  const response = { jsonrpc: "2.0", id };
  try {
    if (!served.has(method)) throw { code: -32601, message: `no method \`${method}\`` };
    response.result = await served.get(method)(params ?? {});
  } catch ({ code, message, data }) {
    response.error = { code: Number.isInteger(code) ? code : -32000, message, data };
  }
  if (id !== undefined) send(response);
}

function send(response) {
  process.stdout.write(JSON.stringify(response) + "\n");
}

console.log = console.error; // standard output is the wire
const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
lines.on("close", () => process.exit(0));
lines.on("line", (line) => {
  const broken = { code: -32700, message: "not JSON" };
  if (line.trim()) answer(line).catch(() => send({ jsonrpc: "2.0", id: null, error: broken }));
});

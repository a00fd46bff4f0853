// The example server as a child process, built by cargo.

import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";

const root = new URL("../..", import.meta.url).pathname;

function build() {
  const args = ["build", "--locked", "--quiet", "--example", "server", "--message-format", "json"];
  const out = execFileSync("cargo", args, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "inherit"] });
  const built = out.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  return built.find((message) => message.executable && message.target.name === "server").executable;
}

let binary;

export class Server {
  // Starts it and waits until it listens.
  static async start(...args) {
    binary ??= build();
    const server = new Server();
    server.child = spawn(binary, args, { stdio: ["ignore", "pipe", "inherit"] });
    server.ended = new Promise((resolve) => server.child.once("exit", (code, signal) => resolve(code ?? signal)));
    server.url = await new Promise((resolve, reject) => {
      createInterface({ input: server.child.stdout }).on("line", (line) => {
        const found = line.match(/http:\/\/[^/ ]+/);
        if (found) resolve(found[0]);
      });
      server.ended.then((code) => reject(new Error(`the server ended with ${code}`)));
    });
    server.port = new URL(server.url).port;
    return server;
  }

  // As Ctrl-C does. What it exits with.
  async stop() {
    this.child.kill("SIGTERM");
    return this.ended;
  }

  publish(topic, body, headers = {}) {
    return fetch(`${this.url}/publish?topic=${topic}`, { method: "POST", body, headers });
  }
}

// Sends events by a plan, as bench/fanout/emitter.py does, in a server that is written in JavaScript.
import { createServer } from "node:net";
import { createInterface } from "node:readline";

const nowMicroseconds = () => process.hrtime.bigint() / 1000n;

/** Serves the control connection and calls `broadcast(json)` for each event; prints both ports when all listen. */
export function serve(httpServer, broadcast) {
  const control = createServer((socket) => {
    const emitter = new Emitter(broadcast, (answer) => socket.write(`${JSON.stringify(answer)}\n`));
    createInterface({ input: socket }).on("line", (line) => emitter.take(JSON.parse(line)));
    socket.on("error", () => socket.destroy());
  });
  control.listen(0, "127.0.0.1", () => {
    httpServer.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
      console.log(JSON.stringify({ port: httpServer.address().port, control: control.address().port }));
    });
  });
  process.on("SIGTERM", () => process.exit(0));
}

class Emitter {
  constructor(broadcast, answer) {
    this.broadcast = broadcast;
    this.answer = answer;
    this.sent = 0;
    this.acknowledged = 0;
    this.waiting = false;
  }

  take(request) {
    if (request.ack !== undefined) {
      this.acknowledged = request.ack;
      if (this.waiting) this.flood();
    } else if (request.prepare !== undefined) {
      this.plan = request.prepare;
      this.templates = request.templates;
      this.sent = 0;
      this.acknowledged = 0;
      this.answer({ done: "prepare" });
    } else if (request.run) {
      this.start = performance.now();
      if (this.plan.interval > 0) this.keepPace();
      else this.flood();
    }
  }

  keepPace() {
    this.sendBatch();
    if (this.sent >= this.plan.count) return;
    const due = this.start + (this.sent / this.plan.batch) * this.plan.interval * 1000;
    setTimeout(() => this.keepPace(), Math.max(0, due - performance.now()));
  }

  flood() {
    this.waiting = this.sent + this.plan.batch - this.acknowledged > this.plan.window;
    if (this.waiting || this.sent >= this.plan.count) return;
    this.sendBatch();
    setImmediate(() => this.flood());
  }

  sendBatch() {
    for (let index = 0; index < this.plan.batch; index += 1) {
      const template = this.templates[this.sent % this.templates.length];
      this.sent += 1;
      const filled = template.replaceAll("@seq@", String(this.sent)).replace("@sent@", String(nowMicroseconds()));
      this.broadcast(filled);
    }
  }
}

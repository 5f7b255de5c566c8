// Broadcasts events with `ws`: a buffer that is made once an event, sent to every client.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { serve } from "./control.mjs";

const httpServer = createServer();
const server = new WebSocketServer({ server: httpServer, perMessageDeflate: false });

serve(httpServer, (json) => {
  const message = Buffer.from(json);
  for (const client of server.clients) client.send(message, { binary: false });
});

// Broadcasts events with `socket.io`: one emit to all an event, over its WebSocket transport.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { serve } from "./control.mjs";

const httpServer = createServer();
const server = new Server(httpServer, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

serve(httpServer, (json) => server.emit("event", JSON.parse(json)));

/**
 * Engines that hold names and nothing else, for `bench/controller.ts`: each address answers vLLM's routes for adapters with as little
 * work as can be, in a process of its own. Asked over its parent's channel.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";

/** What the parent asks; each is answered with the calls so far. */
export type FleetOrder =
  | { readonly kind: "start"; readonly hosts: readonly string[]; readonly port: number }
  | { readonly kind: "count" }
  /** The engine forgets the adapter without a word. */
  | { readonly kind: "drop"; readonly host: string; readonly adapter: string }
  /** Takes requests and never answers; `isHung: false` ends it for new ones. */
  | { readonly kind: "hang"; readonly host: string; readonly isHung: boolean };

/** Calls since the start, and how many adapters each engine holds. */
export interface FleetCount {
  readonly lists: number;
  readonly loads: number;
  readonly unloads: number;
  readonly held: readonly number[];
}

class Engine {
  readonly held = new Map<string, string>();
  isHung = false;
  #list: string | undefined;

  /** The model list; built anew only after a change. */
  list(): string {
    this.#list ??= JSON.stringify({
      object: "list",
      data: [
        { id: "base", object: "model", root: "/models/base", parent: null },
        ...[...this.held].map(([id, root]) => ({ id, object: "model", root, parent: "base" })),
      ],
    });
    return this.#list;
  }

  changed(): void {
    this.#list = undefined;
  }
}

const engines = new Map<string, Engine>();
const calls = { lists: 0, loads: 0, unloads: 0 };

async function answer(engine: Engine, request: IncomingMessage, response: ServerResponse) {
  if (engine.isHung) return;
  if (request.url === "/v1/models") {
    calls.lists++;
    response.end(engine.list());
    return;
  }
  const { lora_name: name, lora_path: path } = JSON.parse(await text(request)) as {
    lora_name: string;
    lora_path?: string;
  };
  if (path === undefined) {
    calls.unloads++;
    engine.held.delete(name);
  } else {
    calls.loads++;
    engine.held.set(name, path);
  }
  engine.changed();
  response.end("Success");
}

async function obey(order: FleetOrder): Promise<void> {
  switch (order.kind) {
    case "start":
      for (const host of order.hosts) {
        const engine = new Engine();
        engines.set(host, engine);
        const server = createServer((request, response) => void answer(engine, request, response));
        server.keepAliveTimeout = 60_000;
        server.listen(order.port, host);
        await once(server, "listening");
      }
      return;
    case "count":
      return;
    case "drop": {
      const engine = engines.get(order.host);
      engine?.held.delete(order.adapter);
      engine?.changed();
      return;
    }
    case "hang": {
      const engine = engines.get(order.host);
      if (engine !== undefined) engine.isHung = order.isHung;
    }
  }
}

process.on("message", async (order: FleetOrder) => {
  await obey(order);
  const held = [...engines.values()].map((engine) => engine.held.size);
  process.send?.({ ...calls, held } satisfies FleetCount);
});
process.on("disconnect", () => process.exit());

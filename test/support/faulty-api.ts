import type { IncomingMessage, ServerResponse } from "node:http";
import type { KubeObject } from "#api/kubernetes.ts";

interface Change {
  version: number;
  type: "ADDED" | "MODIFIED" | "DELETED";
  object: KubeObject;
}

interface Watcher {
  send(change: Change): void;
  cut(): void;
}

/** What may go wrong with one request. */
export type Fault =
  | "none"
  | "reset"
  | "error500"
  | "gone"
  | "cut"
  | "cut-half-line"
  | "silent"
  | "close-at-once"
  | "error-event";

export interface FaultyApiOptions {
  /** Chosen anew for each request. */
  fault?: (kind: "list" | "watch") => Fault;
  /** How a server without the feature answers `sendInitialEvents`; undefined: it has it. */
  watchListRefusal?: number | undefined;
}

/** How many events a faulty watch delivers before it fails. */
const EVENTS_BEFORE_FAULT = 2;

/** The list and watch of one kind of object as an API server offers them, with faults at will. */
export class FaultyApi {
  readonly objects = new Map<string, KubeObject>();
  /** `list` or `watch` of each request, in order. */
  readonly requests: string[] = [];
  options: FaultyApiOptions;
  #version = 100;
  #history: Change[] = [];
  #oldest = 100;
  readonly #watchers = new Set<Watcher>();

  constructor(options: FaultyApiOptions = {}) {
    this.options = options;
  }

  get version(): number {
    return this.#version;
  }

  set(name: string, data: Record<string, string> = {}): KubeObject {
    const version = ++this.#version;
    const object = {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name, namespace: "default", resourceVersion: String(version) },
      data,
    };
    const type = this.objects.has(name) ? "MODIFIED" : "ADDED";
    this.objects.set(name, object);
    this.#publish({ version, type, object });
    return object;
  }

  delete(name: string): void {
    const held = this.objects.get(name);
    if (held === undefined) return;
    const version = ++this.#version;
    this.objects.delete(name);
    const metadata = { ...held.metadata, resourceVersion: String(version) };
    this.#publish({ version, type: "DELETED", object: { ...held, metadata } });
  }

  /** Forgets the history: every older version is gone. */
  compact(): void {
    this.#history = [];
    this.#oldest = this.#version;
  }

  /** The server comes back with an older state, as after a restore from a backup. */
  restore(version: number): void {
    this.#version = version;
    this.objects.clear();
    this.compact();
    for (const watcher of this.#watchers) watcher.cut();
  }

  #publish(change: Change): void {
    this.#history.push(change);
    for (const watcher of this.#watchers) watcher.send(change);
  }

  handle = (request: IncomingMessage, response: ServerResponse): void => {
    const query = new URL(request.url ?? "/", "http://x").searchParams;
    const isWatch = query.get("watch") === "1";
    this.requests.push(isWatch ? "watch" : "list");
    const fault = this.options.fault?.(isWatch ? "watch" : "list") ?? "none";
    if (fault === "reset") request.socket.destroy();
    else if (fault === "error500") refuse(response, 500, "InternalError");
    else if (fault === "gone") refuse(response, 410, "Expired");
    else if (isWatch) this.#watch(query, response, fault);
    else this.#list(query, response);
  };

  #list(query: URLSearchParams, response: ServerResponse): void {
    const limit = Number(query.get("limit") ?? "0");
    const [version = String(this.#version), after = ""] = (query.get("continue") ?? "").split("/");
    const isContinued = query.get("continue") !== null;
    // Pages are cut from the current state; a page of an older one is refused.
    if (isContinued && Number(version) < this.#version) {
      refuse(response, 410, "Expired");
      return;
    }
    const all = [...this.objects.values()]
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
      .filter((object) => object.metadata.name > after);
    const items = limit === 0 ? all : all.slice(0, limit);
    const last = items.at(-1);
    const next = items.length < all.length && last !== undefined;
    const metadata = {
      resourceVersion: String(this.#version),
      ...(next ? { continue: `${this.#version}/${last.metadata.name}` } : {}),
    };
    response.end(JSON.stringify({ metadata, items }));
  }

  #watch(query: URLSearchParams, response: ServerResponse, fault: Fault): void {
    const sendInitial = query.get("sendInitialEvents") === "true";
    const from = Number(query.get("resourceVersion") ?? "0");
    const refusal = this.#refusal(sendInitial, from);
    if (refusal !== undefined) {
      refuse(response, ...refusal);
      return;
    }
    response.writeHead(200).flushHeaders();
    if (fault === "close-at-once") response.end();
    if (fault === "close-at-once" || fault === "silent") return;
    let left = fault === "none" ? Number.POSITIVE_INFINITY : EVENTS_BEFORE_FAULT;
    const write = (event: { type: string; object: KubeObject }) => {
      if (left-- > 0) response.write(`${JSON.stringify(event)}\n`);
      else this.#fail(response, fault);
    };
    if (sendInitial) {
      for (const object of this.objects.values()) write({ type: "ADDED", object });
      const annotations = { "k8s.io/initial-events-end": "true" };
      const metadata = { name: "", resourceVersion: String(this.#version), annotations };
      write({ type: "BOOKMARK", object: { metadata } });
    } else {
      for (const change of this.#history) if (change.version > from) write(change);
    }
    const watcher = { send: write, cut: () => response.destroy() };
    this.#watchers.add(watcher);
    response.once("close", () => this.#watchers.delete(watcher));
  }

  #refusal(sendInitial: boolean, from: number): [number, string] | undefined {
    const { watchListRefusal } = this.options;
    if (sendInitial)
      return watchListRefusal === undefined ? undefined : [watchListRefusal, "Invalid"];
    if (from < this.#oldest) return [410, "Expired"];
    return from > this.#version ? [504, "Timeout"] : undefined;
  }

  #fail(response: ServerResponse, fault: Fault): void {
    if (response.writableEnded || response.destroyed) return;
    if (fault === "cut-half-line") response.end('{"type":"MODIFIED","object":{"meta');
    else if (fault === "error-event") {
      const object = { kind: "Status", code: 410, reason: "Expired", message: "too old" };
      response.end(`${JSON.stringify({ type: "ERROR", object })}\n`);
      // Only after what was sent before has left.
    } else response.write("\n", () => response.destroy());
  }
}

function refuse(response: ServerResponse, code: number, reason: string): void {
  response.writeHead(code).end(JSON.stringify({ kind: "Status", code, reason, message: reason }));
}

import type { Clock } from "#base/clock.ts";
import type { JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";
import type { Registry } from "../registry/registry.ts";
import { type WatchEvent, watch, watchQuery } from "../registry/watches.ts";
import type { Exchange } from "./exchange.ts";
import { showObject, type View } from "./represent.ts";

/** A client that reads this much too slowly is cut off; it comes back and lists again. */
const BACKLOG_MAX_BYTES = 64 * 1024 * 1024;

/**
 * Answers a watch: one JSON object a line until the client leaves, the time is up, or `leave` is aborted.
 * @throws ApiError before the first byte, for a query that cannot be obeyed.
 */
export function answerWatch(
  exchange: Exchange,
  target: { readonly kind: Kind; readonly namespace: string | undefined; readonly view: View },
  context: {
    readonly registry: Registry;
    readonly clock: Clock;
    readonly random: () => number;
    readonly leave: AbortSignal;
  },
): void {
  const { response, url } = exchange;
  const { kind, namespace, view } = target;
  const { registry, clock, leave } = context;
  const query = watchQuery(url.searchParams, context.random);
  let isFirst = true;
  const waiting: string[] = [];
  let isOpen = false;
  const write = (text: string) => {
    if (!isOpen) waiting.push(text);
    else {
      response.write(text);
      if (response.writableLength > BACKLOG_MAX_BYTES) response.destroy();
    }
  };
  const send = (event: WatchEvent) => {
    const { type } = event;
    const shown = shownEvent(kind, event, { ...view, nowMs: clock.now() }, isFirst);
    isFirst &&= type === "ERROR" || type === "BOOKMARK";
    write(`${JSON.stringify({ type, object: shown })}\n`);
  };
  let hasEnded = false;
  const end = () => {
    hasEnded = true;
    if (isOpen) response.end();
  };
  const stop = watch({ registry, clock, kind, namespace, query, send, end });
  response.writeHead(200, {
    "content-type": "application/json",
    "cache-control": "no-cache, private",
  });
  response.flushHeaders();
  isOpen = true;
  for (const text of waiting) response.write(text);
  if (hasEnded) {
    response.end();
    return;
  }
  const close = () => {
    stop();
    response.end();
  };
  leave.addEventListener("abort", close, { once: true });
  response.once("close", () => {
    stop();
    leave.removeEventListener("abort", close);
  });
}

function shownEvent(kind: Kind, event: WatchEvent, view: View, isFirst: boolean): JsonObject {
  const { type, object } = event;
  if (type === "ERROR") return object;
  const shown = showObject(kind, object, view);
  if (view.form.as !== "Table") return shown;
  // The columns are told once; a bookmark has no row.
  const columns = isFirst && type !== "BOOKMARK" ? shown["columnDefinitions"] : null;
  const table = { ...shown, columnDefinitions: columns ?? null };
  return type === "BOOKMARK" ? { ...table, rows: [] } : table;
}

import assert from "node:assert/strict";
import type { Dispatcher } from "undici";
import type { Json, JsonObject } from "#base/json.ts";
import { at } from "./answer.ts";

const PATIENCE_MS = 10_000;

export interface WatchLine {
  readonly type: string;
  readonly object: JsonObject;
}

/** An open watch. To be held by `await using`, which closes it. */
export interface Watching extends AsyncDisposable {
  readonly status: number;
  readonly contentType: string;
  /** The next event; fails when none comes or the stream ends. */
  next(): Promise<WatchLine>;
  /** The next `count` events as `TYPE name`. */
  take(count: number): Promise<string[]>;
  /** All events until the server ends the stream. */
  rest(): Promise<WatchLine[]>;
}

export function openWatch(path: string, response: Dispatcher.ResponseData): Watching {
  const lines = parse(response.body);
  const read = (): Promise<WatchLine | undefined> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`watch of ${path}: nothing within ${PATIENCE_MS} ms`)),
        PATIENCE_MS,
      );
    });
    const next = lines.next().then(({ done, value }) => (done ? undefined : value));
    return Promise.race([next, late]).finally(() => clearTimeout(timer));
  };
  const next = async () => {
    const line = await read();
    assert.ok(line !== undefined, `watch of ${path}: the server ended it`);
    return line;
  };
  return {
    status: response.statusCode,
    contentType: String(response.headers["content-type"]),
    next,
    take: async (count) => {
      const taken: string[] = [];
      while (taken.length < count) taken.push(brief(await next()));
      return taken;
    },
    rest: async () => {
      const rest: WatchLine[] = [];
      for (;;) {
        const line = await read();
        if (line === undefined) return rest;
        rest.push(line);
      }
    },
    [Symbol.asyncDispose]: async () => {
      // Whoever still waits for a line is told by the iterator's end.
      response.body.on("error", () => {});
      response.body.destroy();
    },
  };
}

/** `TYPE name`, how tests compare events. */
export function brief(line: WatchLine): string {
  const name: Json | undefined = at(line.object, "metadata.name");
  return name === undefined ? line.type : `${line.type} ${name}`;
}

async function* parse(body: AsyncIterable<Buffer>): AsyncGenerator<WatchLine> {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const chunk of body) {
    const lines = (pending + decoder.decode(chunk, { stream: true })).split("\n");
    pending = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line) as WatchLine;
  }
  assert.equal(pending, "", "the stream ends in the middle of a line");
}

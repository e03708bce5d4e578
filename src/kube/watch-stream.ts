import type { KubeObject } from "#api/kubernetes.ts";
import { isObject } from "#base/json.ts";
import type { WatchEvent } from "./client.ts";
import { errorOfStatus } from "./status.ts";

/** One event carries one object, and etcd takes none above 1.5 MiB. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * The events of a watch's body, one JSON object a line. Bytes after the last line end are dropped:
 * the stream was cut in the middle of an event, which comes again after the resume.
 * @throws KubeApiError for an ERROR event, Error for a line that is not an event.
 */
export async function* watchEvents<T extends KubeObject>(
  body: AsyncIterable<Buffer>,
): AsyncGenerator<WatchEvent<T>> {
  for await (const line of lines(body)) yield parseEvent<T>(line);
}

/** Splits at line ends on bytes, because a chunk may end inside a character. */
async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  for await (const chunk of body) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const rest = chunk.subarray(start, end);
      const line = pending.length === 0 ? rest : Buffer.concat([...pending, rest]);
      pending = [];
      pendingBytes = 0;
      start = end + 1;
      if (line.length > 0) yield line.toString("utf8");
    }
    if (start < chunk.length) {
      pending.push(chunk.subarray(start));
      pendingBytes += chunk.length - start;
      if (pendingBytes > LINE_BYTES_MAX) {
        throw new Error(`a watch event is longer than ${LINE_BYTES_MAX} bytes`);
      }
    }
  }
}

function parseEvent<T extends KubeObject>(line: string): WatchEvent<T> {
  const event: unknown = JSON.parse(line);
  if (!isObject(event) || !isObject(event["object"]))
    throw new Error("a watch line is not an event");
  switch (event["type"]) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
    case "BOOKMARK":
      return { type: event["type"], object: event["object"] as unknown as T };
    case "ERROR":
      throw errorOfStatus(event["object"]);
    default:
      throw new Error(`unknown watch event type ${JSON.stringify(event["type"])}`);
  }
}

import type { IncomingHttpHeaders } from "node:http";
import { ArtifactError } from "./errors.ts";
import type { HttpResponse } from "./http-client.ts";
import { type FileBytes, type RemoteFile, SourceChangedError } from "./source.ts";

/** Lets an answer go that nobody will read. */
export function discard(response: HttpResponse): void {
  response.body.on("error", () => {
    // Destroying a half-read body is an error to the stream, and what we want.
  });
  response.body.destroy();
}

/** Asks for the rest of a file, provided that it is still the same; otherwise for all of it. */
export function rangeHeaders(
  fromByte: number,
  validator: string | undefined,
): Record<string, string> {
  if (fromByte === 0 || validator === undefined) return {};
  return { range: `bytes=${fromByte}-`, "if-range": validator };
}

/** Size of the whole file by the headers of an answer to GET or HEAD; undefined when they do not tell. */
export function wholeSize(status: number, headers: IncomingHttpHeaders): number | undefined {
  if (status === 206) return contentRange(headers)?.size;
  const length = headers["content-length"];
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}

function contentRange(headers: IncomingHttpHeaders) {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(headers["content-range"] ?? "");
  if (match === null) return undefined;
  return { start: Number(match[1]), size: match[3] === "*" ? undefined : Number(match[3]) };
}

/**
 * The body of a 200 or 206 as the rest of `file`.
 * @throws SourceChangedError when it is another file than the listed one.
 */
export function fileBytes(response: HttpResponse, file: RemoteFile, fromByte: number): FileBytes {
  const sizeBytes = wholeSize(response.status, response.headers);
  const etag = response.headers["etag"];
  const isOther =
    (sizeBytes !== undefined && file.sizeBytes !== undefined && sizeBytes !== file.sizeBytes) ||
    (file.validator?.startsWith('"') === true && etag !== undefined && etag !== file.validator);
  if (isOther) {
    discard(response);
    throw new SourceChangedError(`${file.path} changed at its source`);
  }
  let startsAt = 0;
  if (response.status === 206) {
    startsAt = contentRange(response.headers)?.start ?? -1;
    if (startsAt !== fromByte) {
      discard(response);
      throw new ArtifactError(
        "Unreachable",
        `${file.path}: the server answers another range than it was asked for`,
      );
    }
  }
  return { startsAt, sizeBytes, sha256: undefined, stream: response.body };
}

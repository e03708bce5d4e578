import type { IncomingHttpHeaders } from "node:http";
import { ArtifactError } from "./errors.ts";
import type { HttpResponse } from "./http-client.ts";
import { type ByteRange, type FileBytes, type RemoteFile, SourceChangedError } from "./source.ts";

/** Lets an answer go that nobody will read. */
export function discard(response: Pick<HttpResponse, "body">): void {
  response.body.on("error", () => {
    // Destroying a half-read body is an error to the stream, and what we want.
  });
  response.body.destroy();
}

/** The value of a Range header; undefined for the whole file. */
export function rangeHeader({ from, to }: ByteRange): string | undefined {
  if (to === undefined) return from === 0 ? undefined : `bytes=${from}-`;
  return `bytes=${from}-${to - 1}`;
}

/** Asks for a part of a file, provided that it is still the same; otherwise for all of it. */
export function rangeHeaders(
  range: ByteRange,
  validator: string | undefined,
): Record<string, string> {
  const value = rangeHeader(range);
  if (value === undefined || validator === undefined) return {};
  return { range: value, "if-range": validator };
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
  return {
    start: Number(match[1]),
    end: Number(match[2]) + 1,
    size: match[3] === "*" ? undefined : Number(match[3]),
  };
}

/**
 * The body of a 200 or 206 as `range` of `file`.
 * @throws SourceChangedError when it is another file than the listed one.
 */
export function fileBytes(
  response: Pick<HttpResponse, "status" | "headers" | "body">,
  file: RemoteFile,
  range: ByteRange,
): FileBytes {
  const sizeBytes = wholeSize(response.status, response.headers);
  const etag = response.headers["etag"];
  const isOther =
    (sizeBytes !== undefined && file.sizeBytes !== undefined && sizeBytes !== file.sizeBytes) ||
    (file.validator?.startsWith('"') === true && etag !== undefined && etag !== file.validator);
  if (isOther) {
    discard(response);
    throw new SourceChangedError(`${file.path} changed at its source`);
  }
  const { body: stream } = response;
  if (response.status !== 206) {
    return { startsAt: 0, endsAt: undefined, sizeBytes, digest: undefined, stream };
  }
  const part = contentRange(response.headers);
  const wantedEnd = range.to ?? sizeBytes;
  if (part?.start !== range.from || (wantedEnd !== undefined && part.end !== wantedEnd)) {
    discard(response);
    throw new ArtifactError(
      "Unreachable",
      `${file.path}: the server answers another range than it was asked for`,
    );
  }
  return { startsAt: part.start, endsAt: range.to, sizeBytes, digest: undefined, stream };
}

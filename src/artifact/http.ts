import { redactArtifactUrl } from "#api/artifact-url.ts";
import { ADAPTER_CONFIG, ADAPTER_PICKLE, ADAPTER_WEIGHTS } from "./adapter-files.ts";
import { headersOf } from "./credentials.ts";
import { ArtifactError, httpStatusError } from "./errors.ts";
import type { HttpResponse } from "./http-client.ts";
import { discard, fileBytes, rangeHeaders, wholeSize } from "./http-range.ts";
import type { ArtifactSource, Listing, RemoteFile, SourceContext } from "./source.ts";

/** What the one file of an archive source is called while it is being fetched. */
const ARCHIVE_FILE = "archive";

const ADVICE = "the key headers of the Secret that credentialsSecretRef names";

/** http(s)://: a folder, a file that stands for its folder, or an archive. */
export function httpSource(text: string, context: SourceContext): ArtifactSource {
  const url = new URL(text);
  const originHeaders = headersOf(context.credentials);
  const sent = Object.keys(originHeaders).length > 0 || url.username !== "";
  const isArchive = /\.(tar|tar\.gz|tgz|zip)$/i.test(url.pathname);
  if (!isArchive && context.content === "model") {
    throw new ArtifactError(
      "Unsupported",
      "http(s):// serves models as archives only (.tar, .tar.gz, .tgz, .zip): folders cannot be listed",
    );
  }
  const files = new Map(
    isArchive ? [[ARCHIVE_FILE, url] as const] : folderFiles(url, context.settings.allowPickle),
  );

  const send = (
    target: URL,
    signal: AbortSignal,
    options: { method?: "HEAD"; headers?: Record<string, string> },
  ): Promise<HttpResponse> =>
    context.http.send(target, {
      ...options,
      originHeaders,
      allowPrivate: context.settings.allowPrivateAddresses,
      signal,
    });

  const failure = (status: number, target: URL) =>
    httpStatusError(status, redactArtifactUrl(target.toString()), { sent, advice: ADVICE });

  /** One file's size and validators; undefined when the server has none of that name. */
  async function describe(path: string, target: URL, signal: AbortSignal) {
    let response = await send(target, signal, { method: "HEAD" });
    discard(response);
    if (response.status >= 400) {
      // Presigned URLs allow GET alone, and some servers refuse HEAD: one byte tells the same.
      response = await send(target, signal, { headers: { range: "bytes=0-0" } });
      discard(response);
    }
    const { status, headers } = response;
    if (status === 404 || status === 410) return undefined;
    // 416: an empty file has no first byte.
    if (status >= 300 && status !== 416) throw failure(status, target);
    const version = headers["etag"] ?? headers["last-modified"];
    const isWeak = headers["etag"]?.startsWith("W/") === true;
    const file: RemoteFile = {
      path,
      sizeBytes: status === 416 ? 0 : wholeSize(status, headers),
      digest: undefined,
      // A weak tag tells that the meaning is the same, not that the bytes are.
      validator: isWeak ? headers["last-modified"] : version,
    };
    return { file, version };
  }

  async function list(signal: AbortSignal): Promise<Listing> {
    const all = await Promise.all([...files].map(([path, at]) => describe(path, at, signal)));
    const found = all.filter((item) => item !== undefined);
    if (found.length === 0) throw failure(404, url);
    return {
      files: found.map((item) => item.file),
      archive: isArchive,
      identity: identityOf(found, url.search),
    };
  }

  return {
    location: isArchive ? redactArtifactUrl(text) : folderOf(redactArtifactUrl(text)),
    pinned: undefined,
    list,
    read: async (file, range, signal) => {
      const target = files.get(file.path) as URL;
      const headers = rangeHeaders(range, file.validator);
      const response = await send(target, signal, { headers });
      if (response.status === 200 || response.status === 206) {
        return fileBytes(response, file, range);
      }
      discard(response);
      throw failure(response.status, target);
    },
  };
}

/** With or without a slash, or by one of its files: it is the same folder. */
function folderOf(url: string): string {
  const names = `${ADAPTER_CONFIG}|${ADAPTER_WEIGHTS}|${ADAPTER_PICKLE}`.replaceAll(".", "\\.");
  return url.replace(new RegExp(`/(?:${names})?$`), "");
}

/**
 * The files of an adapter, by the URL of its folder or of one of them. A query belongs to the file
 * that it was written for: a signature is no use for its siblings, and none of their business. A
 * folder's query is for all that lies in it.
 */
function folderFiles(url: URL, allowPickle: boolean): [string, URL][] {
  const names = [ADAPTER_CONFIG, ADAPTER_WEIGHTS, ...(allowPickle ? [ADAPTER_PICKLE] : [])];
  const named = names.find((name) => url.pathname.endsWith(`/${name}`));
  const folder = new URL(url);
  if (named !== undefined) {
    folder.pathname = url.pathname.slice(0, -named.length);
    folder.search = "";
  } else if (!url.pathname.endsWith("/")) {
    folder.pathname += "/";
  }
  return names.map((name) => {
    if (name === named) return [name, url];
    const file = new URL(folder);
    file.pathname += name;
    return [name, file];
  });
}

function identityOf(
  found: readonly { file: RemoteFile; version: string | undefined }[],
  query: string,
): string | undefined {
  if (found.some(({ version }) => version === undefined)) return undefined;
  const parts: unknown[] = found.map(({ file, version }) => [
    file.path,
    version,
    file.sizeBytes ?? null,
  ]);
  // A signed URL is new each time while a strong tag stays; a date is too weak to do without the query.
  const isStrong = found.every(({ version }) => version?.startsWith('"') === true);
  return JSON.stringify(isStrong ? parts : [...parts, query]);
}

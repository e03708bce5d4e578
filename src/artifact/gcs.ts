import { isObject, type JsonObject } from "#base/json.ts";
import { cheapestDigest, type Digest } from "./digest.ts";
import { ArtifactError, httpStatusError } from "./errors.ts";
import { GCS_KEYS, GcsTokens, readJsonObject } from "./gcs-auth.ts";
import { type HttpResponse, transportError } from "./http-client.ts";
import { discard, fileBytes, rangeHeader } from "./http-range.ts";
import {
  delimiterFor,
  folderPrefix,
  LISTED_KEYS_MAX,
  nothingIn,
  pickObjects,
  tooManyKeys,
} from "./object-keys.ts";
import {
  type ArtifactSource,
  type Listing,
  SourceChangedError,
  type SourceContext,
} from "./source.ts";

const ENDPOINT = "https://storage.googleapis.com";
const FIELDS = "items(name,size,generation,md5Hash,crc32c,contentEncoding),prefixes,nextPageToken";
const PERMISSIONS = "storage.objects.list and storage.objects.get (the role Storage Object Viewer)";

interface GcsObject {
  readonly sizeBytes: number;
  /** One content for ever: each upload of a name makes another. Some emulators have none. */
  readonly generation: string | undefined;
  /** What the content is known by. */
  readonly version: string | undefined;
  readonly digest: Digest | undefined;
  readonly isCompressed: boolean;
}

/**
 * gs://bucket/path by the JSON API. Google's own client brings many packages, drops the path of an
 * emulator and the token_uri of a key; what is needed of it is small.
 */
export function gcsSource(
  { bucket, prefix }: { readonly bucket: string; readonly prefix: string },
  context: SourceContext,
): ArtifactSource {
  const { settings, http } = context;
  const endpoint = (settings.gcs.endpoint ?? ENDPOINT).replace(/(\/storage\/v1)?\/*$/, "");
  const what = `gs://${bucket}/${prefix}`;
  const folder = folderPrefix(prefix);
  const tokens = new GcsTokens(context, what);
  const objects = `${endpoint}/storage/v1/b/${encodeURIComponent(bucket)}/o`;

  /** @throws ArtifactError for every answer but 2xx. */
  async function ask(
    url: URL,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const token = await tokens.get(signal);
    const response = await http.send(url, {
      headers,
      originHeaders: token === undefined ? {} : { authorization: `Bearer ${token}` },
      // The endpoint is Google's or the operator's word.
      allowPrivate: true,
      followsRedirects: false,
      signal,
    });
    if (response.status >= 200 && response.status <= 299) return response;
    discard(response);
    throw gcsError(response.status, what, token !== undefined);
  }

  async function listPage(pageToken: string | undefined, signal: AbortSignal): Promise<JsonObject> {
    const url = new URL(objects);
    const delimiter = delimiterFor(context.content);
    const query = { prefix: folder, delimiter, pageToken, fields: FIELDS };
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const { body } = await ask(url, { accept: "application/json" }, signal);
    try {
      return await readJsonObject(body);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw transportError(error, url.host, signal);
      throw unreadable(what);
    }
  }

  async function listKeys(signal: AbortSignal): Promise<[string, GcsObject | undefined][]> {
    const keys: [string, GcsObject | undefined][] = [];
    let token: string | undefined;
    do {
      const page = await listPage(token, signal);
      for (const item of arrayOf(page["items"])) {
        const [name, object] = objectOf(item, what);
        keys.push([name.slice(folder.length), object]);
      }
      for (const deeper of arrayOf(page["prefixes"])) {
        keys.push([String(deeper).slice(folder.length), undefined]);
      }
      if (keys.length > LISTED_KEYS_MAX) throw tooManyKeys(what);
      const next = page["nextPageToken"];
      token = typeof next === "string" && next !== "" ? next : undefined;
    } while (token !== undefined);
    return keys;
  }

  async function list(signal: AbortSignal): Promise<Listing> {
    const keys = await listKeys(signal);
    if (keys.length === 0) throw nothingIn(what);
    const found = pickObjects(keys, context).flatMap(([path, object]) =>
      object === undefined ? [] : [{ path, ...object }],
    );
    const compressed = found.find(({ isCompressed }) => isCompressed);
    if (compressed !== undefined) {
      throw new ArtifactError(
        "InvalidArtifact",
        `${compressed.path} is stored with Content-Encoding gzip: upload it as it is, without -z or -Z`,
      );
    }
    return {
      files: found.map(({ path, sizeBytes, generation, digest }) => {
        return { path, sizeBytes, digest, validator: generation };
      }),
      archive: false,
      identity: found.every(({ version }) => version !== undefined)
        ? JSON.stringify(found.map(({ path, version }) => [path, version]))
        : undefined,
    };
  }

  return {
    location: what,
    pinned: undefined,
    list,
    read: async (file, range, signal) => {
      const url = new URL(`${objects}/${encodeURIComponent(folder + file.path)}`);
      url.searchParams.set("alt", "media");
      if (file.validator !== undefined) {
        url.searchParams.set("ifGenerationMatch", file.validator);
      }
      const wanted = rangeHeader(range);
      const headers: Record<string, string> = wanted === undefined ? {} : { range: wanted };
      const response = await ask(url, headers, signal).catch((error: unknown) => {
        const isOther = error instanceof GcsAnswer && [404, 412, 416].includes(error.answered);
        throw isOther ? new SourceChangedError(`${file.path} changed at its source`) : error;
      });
      const generation = response.headers["x-goog-generation"] ?? file.validator;
      if (file.validator !== undefined && generation !== file.validator) {
        discard(response);
        throw new SourceChangedError(`${file.path} changed at its source`);
      }
      return fileBytes(response, { ...file, validator: undefined }, range);
    },
  };
}

const arrayOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

function objectOf(item: unknown, what: string): [string, GcsObject] {
  const { name, size, generation, md5Hash, crc32c, contentEncoding } = isObject(item) ? item : {};
  if (typeof name !== "string" || !/^\d{1,15}$/.test(String(size))) throw unreadable(what);
  const text = (value: unknown) => (typeof value === "string" ? value : undefined);
  const known = /^\d+$/.test(String(generation)) ? String(generation) : undefined;
  return [
    name,
    {
      sizeBytes: Number(size),
      generation: known,
      version: known ?? text(md5Hash) ?? text(crc32c),
      // An object that was composed of others has no MD5.
      digest: cheapestDigest({ md5: text(md5Hash), crc32c: text(crc32c) }),
      isCompressed: contentEncoding === "gzip",
    },
  ];
}

const unreadable = (what: string) =>
  new ArtifactError("Unreachable", `${what}: the store's listing cannot be read`);

/** Keeps the status for whoever knows what was asked. */
class GcsAnswer extends ArtifactError {
  readonly answered: number;

  constructor(answered: number, { code, message }: ArtifactError) {
    super(code, message);
    this.answered = answered;
  }
}

function gcsError(status: number, what: string, sent: boolean): GcsAnswer {
  const error =
    status === 403 && sent
      ? new ArtifactError(
          "AccessDenied",
          `Access denied to ${what}: the service account may not read it; it needs ${PERMISSIONS}`,
        )
      : httpStatusError(status, what, { sent, advice: GCS_KEYS });
  return new GcsAnswer(status, error);
}

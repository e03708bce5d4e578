import type { S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import { sdkTransport, type Witness } from "./aws-transport.ts";
import { cheapestDigest } from "./digest.ts";
import { ArtifactError } from "./errors.ts";
import { discard, fileBytes, rangeHeader } from "./http-range.ts";
import {
  delimiterFor,
  folderPrefix,
  LISTED_KEYS_MAX,
  nothingIn,
  pickObjects,
  tooManyKeys,
} from "./object-keys.ts";
import { type StoreWords, s3Error, statusOf } from "./s3-errors.ts";
import { regionOf, type SigningKey, signedHeaders } from "./sigv4.ts";
import {
  type ArtifactSource,
  type ByteRange,
  type Listing,
  type RemoteFile,
  SourceChangedError,
  type SourceContext,
} from "./source.ts";

export interface Bucket {
  readonly scheme: "s3" | "tos";
  readonly bucket: string;
  /** Without a slash at its end. */
  readonly prefix: string;
}

interface Listed {
  readonly etag: string | undefined;
  readonly sizeBytes: number | undefined;
}

/** Where the SDK found a file, and how its requests are signed. */
interface Place {
  readonly url: URL;
  readonly region: string;
  readonly key: () => Promise<SigningKey>;
}

/** Where and as whom a bucket is asked; what is undefined is left to the SDK. */
export interface BucketAccess {
  readonly endpoint: string | undefined;
  readonly region: string;
  readonly forcePathStyle: boolean;
  readonly credentials:
    | { accessKeyId: string; secretAccessKey: string; sessionToken?: string }
    | undefined;
  readonly words: Omit<StoreWords, "what">;
}

/** A folder of a bucket, by S3's protocol and AWS' client; retries are ours. */
export function bucketSource(
  { scheme, bucket, prefix }: Bucket,
  access: BucketAccess,
  context: SourceContext,
): ArtifactSource {
  const what = `${scheme}://${bucket}/${prefix}`;
  const words = { ...access.words, what };
  const folder = folderPrefix(prefix);
  const places = new Map<string, Place>();
  let opened: Promise<{ sdk: typeof import("@aws-sdk/client-s3"); client: S3Client }> | undefined;

  /** The SDK takes longer to load than the rest of the sidecar: at the first question. */
  async function open() {
    const sdk = await import("@aws-sdk/client-s3");
    const { endpoint, region, forcePathStyle, credentials } = access;
    const config: S3ClientConfig = {
      region,
      forcePathStyle,
      followRegionRedirects: true,
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(credentials === undefined ? {} : { credentials }),
      requestHandler: sdkTransport(context.http) as NonNullable<S3ClientConfig["requestHandler"]>,
      maxAttempts: 1,
      // Checked by ourselves, over the ranges of all tries together.
      responseChecksumValidation: "WHEN_REQUIRED",
    };
    return { sdk, client: new sdk.S3Client(config) };
  }

  async function ask<T>(
    signal: AbortSignal,
    call: (
      client: S3Client,
      sdk: typeof import("@aws-sdk/client-s3"),
      options: { abortSignal: AbortSignal },
    ) => Promise<T>,
  ): Promise<T> {
    try {
      opened ??= open();
      const { client, sdk } = await opened;
      return await call(client, sdk, { abortSignal: signal });
    } catch (error) {
      throw s3Error(error, words, signal);
    }
  }

  /** All keys below the folder; those of deeper folders as one that ends in a slash. */
  async function listKeys(signal: AbortSignal): Promise<[string, Listed][]> {
    const keys: [string, Listed][] = [];
    const query = { Bucket: bucket, Prefix: folder, Delimiter: delimiterFor(context.content) };
    let token: string | undefined;
    do {
      const page = await ask(signal, (client, sdk, options) =>
        client.send(new sdk.ListObjectsV2Command({ ...query, ContinuationToken: token }), options),
      );
      for (const { Key: key = "", ETag: etag, Size: sizeBytes } of page.Contents ?? []) {
        keys.push([key.slice(folder.length), { etag, sizeBytes }]);
      }
      for (const { Prefix: deeper = "" } of page.CommonPrefixes ?? []) {
        keys.push([deeper.slice(folder.length), { etag: undefined, sizeBytes: undefined }]);
      }
      if (keys.length > LISTED_KEYS_MAX) throw tooManyKeys(what);
      token = page.NextContinuationToken;
      if (page.IsTruncated === true && token === undefined) {
        throw new ArtifactError("Unreachable", `${what}: the store's listing breaks off`);
      }
    } while (token !== undefined);
    return keys;
  }

  async function list(signal: AbortSignal): Promise<Listing> {
    const keys = await listKeys(signal);
    if (keys.length === 0) throw nothingIn(what);
    const found = pickObjects(keys, context);
    const isNamed = found.every(([, { etag }]) => etag !== undefined);
    const parts = found.map(([path, { etag, sizeBytes }]) => [path, etag, sizeBytes]);
    return {
      files: found.map(([path, { etag: validator, sizeBytes }]) => {
        return { path, sizeBytes, digest: undefined, validator };
      }),
      archive: false,
      identity: isNamed ? JSON.stringify(parts) : undefined,
    };
  }

  /** The listing does not tell the checksums. */
  async function describe(file: RemoteFile, signal: AbortSignal): Promise<RemoteFile> {
    const about = await ask(signal, async (client, sdk, options) => {
      const query = { Bucket: bucket, Key: folder + file.path, ChecksumMode: "ENABLED" } as const;
      const condition = file.validator === undefined ? {} : { IfMatch: file.validator };
      const command = new sdk.HeadObjectCommand({ ...query, ...condition });
      return unlessChanged(file, client.send(command, options));
    });
    if (about.ETag !== file.validator || about.ContentLength !== file.sizeBytes) {
      throw new SourceChangedError(`${file.path} changed at its source`);
    }
    const md5 = /^"([0-9a-f]{32})"$/.exec(about.ETag ?? "")?.[1];
    // With a key of KMS or of the customer an ETag looks like an MD5 and is none.
    const isPlain = [undefined, "AES256"].includes(about.ServerSideEncryption);
    const isMd5 = isPlain && about.SSECustomerAlgorithm === undefined && md5 !== undefined;
    // Of an upload in parts it may be a checksum of the parts' checksums, and not every store says so.
    const isWhole = !/-\d+"$/.test(about.ETag ?? "") || about.ChecksumType === "FULL_OBJECT";
    if (!isWhole) return file;
    const digest = cheapestDigest({
      crc32: about.ChecksumCRC32,
      crc32c: about.ChecksumCRC32C,
      crc64nvme: about.ChecksumCRC64NVME,
      sha1: about.ChecksumSHA1,
      sha256: about.ChecksumSHA256,
      md5: isMd5 ? Buffer.from(md5, "hex").toString("base64") : undefined,
    });
    return { ...file, digest };
  }

  /**
   * The next range of a file, as the SDK asked for the first: it is slow, and ranges are many.
   * Undefined when the store does not give it; then the SDK finds out why.
   */
  async function readAgain(file: RemoteFile, range: ByteRange, signal: AbortSignal) {
    const place = places.get(file.path);
    const header = rangeHeader(range);
    if (place === undefined || header === undefined || file.validator === undefined) {
      return undefined;
    }
    const { url, region } = place;
    const plain = { range: header, "if-match": file.validator };
    const how = { key: await place.key(), region, nowMs: context.clock.now() };
    const response = await context.http.send(url, {
      headers: signedHeaders(url, plain, how),
      followsRedirects: false,
      allowPrivate: true,
      signal,
    });
    if (response.status === 206) return fileBytes(response, file, range);
    discard(response);
    places.delete(file.path);
    return undefined;
  }

  return {
    location: what,
    pinned: undefined,
    list,
    describe,
    read: async (file, range, signal) =>
      (await readAgain(file, range, signal)) ??
      ask(signal, async (client, sdk, options) => {
        const header = rangeHeader(range);
        const command = new sdk.GetObjectCommand({
          Bucket: bucket,
          Key: folder + file.path,
          ...(header === undefined ? {} : { Range: header }),
          ...(file.validator === undefined ? {} : { IfMatch: file.validator }),
        });
        const onSigned: Witness["onSigned"] = (sent, { authorization }) => {
          const region = regionOf(authorization);
          const url = new URL(sent);
          url.search = "";
          const key = client.config.credentials;
          if (region !== undefined) places.set(file.path, { url, region, key });
        };
        const witnessed = { ...options, onSigned };
        const answer = await unlessChanged(file, client.send(command, witnessed));
        const headers = {
          "content-range": answer.ContentRange,
          "content-length": answer.ContentLength?.toString(),
          etag: answer.ETag,
        };
        const status = answer.$metadata.httpStatusCode ?? 0;
        const body = answer.Body as unknown as Parameters<typeof fileBytes>[0]["body"];
        return fileBytes({ status, headers, body }, file, range);
      }),
  };
}

/** What was listed a moment ago and is another or gone now. */
async function unlessChanged<T>(file: RemoteFile, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const status = statusOf(error);
    const isOther = status === 412 || status === 404 || status === 416;
    throw isOther ? new SourceChangedError(`${file.path} changed at its source`) : error;
  }
}

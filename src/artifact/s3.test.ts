/** What a real store rarely does: many pages, other regions, expired tokens, checksums that are none. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { crc32 } from "node:zlib";
import { fastClock } from "#test/support/fast-clock.ts";
import { startServer } from "#test/support/http-server.ts";
import { silentLog } from "#test/support/silent-log.ts";
import { SOURCE_SETTINGS } from "#test/support/source-settings.ts";
import { createHttpClient } from "./http-client.ts";
import { s3Source } from "./s3.ts";
import { regionOf, signedHeaders } from "./sigv4.ts";
import type { SourceContext } from "./source.ts";
import { tosPlace } from "./tos.ts";

const never = new AbortController().signal;
const CREDENTIALS = { aws_access_key_id: "AKIAEXAMPLE", aws_secret_access_key: "s3cr3t-s3cr3t" };
const MD5 = createHash("md5").update("hello").digest("hex");

type Answer = (request: IncomingMessage, response: ServerResponse, query: URLSearchParams) => void;

async function sourceOf(t: TestContext, answer: Answer, credentials = CREDENTIALS as object) {
  const server = await startServer((request, response) =>
    answer(request, response, new URL(request.url ?? "/", "http://x").searchParams),
  );
  const http = createHttpClient();
  t.after(() => Promise.all([http.close(), server.close()]));
  const context: SourceContext = {
    content: "adapter",
    credentials: credentials as Record<string, string>,
    areCredentialsGiven: true,
    settings: { ...SOURCE_SETTINGS, s3: { endpoint: server.url, region: undefined } },
    http,
    clock: fastClock(50),
    log: silentLog,
  };
  return s3Source({ bucket: "bucket", prefix: "a" }, context);
}

const page = (names: string[], next?: string, etag = `"${MD5}"`) =>
  `<?xml version="1.0"?><ListBucketResult><IsTruncated>${next !== undefined}</IsTruncated>${names
    .map((name) => `<Contents><Key>a/${name}</Key><ETag>${etag}</ETag><Size>5</Size></Contents>`)
    .join(
      "",
    )}${next === undefined ? "" : `<NextContinuationToken>${next}</NextContinuationToken>`}</ListBucketResult>`;

const failure = (code: string) =>
  `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Bad key s3cr3t-s3cr3t</Message></Error>`;

test("a listing of many pages is read to its end; one that breaks off is not believed", async (t) => {
  const pages: Record<string, string> = {
    "": page(["README.md"], "two"),
    two: page(["adapter_config.json"], "three+/="),
    "three+/=": page(["adapter_model.safetensors"]),
  };
  const asked: string[] = [];
  const source = await sourceOf(t, (_, response, query) => {
    assert.equal(query.get("prefix"), "a/");
    asked.push(query.get("continuation-token") ?? "");
    response.end(pages[asked.at(-1) ?? ""]);
  });
  const { files, identity } = await source.list(never);
  assert.deepEqual(asked, ["", "two", "three+/="]);
  assert.deepEqual(
    files.map(({ path, validator }) => [path, validator]),
    [
      ["adapter_config.json", `"${MD5}"`],
      ["adapter_model.safetensors", `"${MD5}"`],
    ],
  );
  assert.match(identity ?? "", /adapter_config/);
  pages[""] = page(["README.md"], "").replace(
    "<NextContinuationToken></NextContinuationToken>",
    "",
  );
  await assert.rejects(source.list(never), { code: "Unreachable", message: /breaks off/ });
  pages[""] = page(["README.md"]).slice(0, 90);
  await assert.rejects(source.list(never), { code: "Unreachable" });
});

test("each refusal in its own words, without the store's", async (t) => {
  let told: [number, string] = [200, ""];
  const source = await sourceOf(t, (_, response) => {
    response.writeHead(told[0], { "content-type": "application/xml" }).end(told[1]);
  });
  const cases: [number, string, string, RegExp][] = [
    [400, "ExpiredToken", "InvalidCredentials", /they have expired .*renew aws_access_key_id/],
    [403, "InvalidAccessKeyId", "InvalidCredentials", /^Invalid credentials/],
    [403, "SignatureDoesNotMatch", "InvalidCredentials", /check aws_access_key_id/],
    [403, "RequestTimeTooSkewed", "InvalidCredentials", /clock/],
    [403, "AccessDenied", "AccessDenied", /^Access denied.*they need s3:ListBucket/],
    [404, "NoSuchBucket", "NotFound", /^Not found: the bucket/],
    [503, "SlowDown", "Unreachable", /^service unavailable/],
    [500, "InternalError", "Unreachable", /^service unavailable/],
    [429, "TooManyRequests", "Unreachable", /^service unavailable/],
    [301, "PermanentRedirect", "InvalidRequest", /another region/],
  ];
  for (const [status, code, kind, words] of cases) {
    told = [status, failure(code)];
    await assert.rejects(source.list(never), (error: Error & { code?: string }) => {
      assert.equal(error.code, kind, `${code}: ${error.message}`);
      assert.match(error.message, words);
      assert.doesNotMatch(error.message, /s3cr3t|AKIA/);
      return true;
    });
  }
  told = [502, "<html>bad gateway"];
  await assert.rejects(source.list(never), { code: "Unreachable", message: /service unavailable/ });
});

test("a bucket of another region is asked again as one of its region", async (t) => {
  const source = await sourceOf(t, (request, response) => {
    const region = /\/([a-z0-9-]+)\/s3\/aws4_request/.exec(
      request.headers.authorization ?? "",
    )?.[1];
    if (region === "eu-north-1") return response.end(page(["adapter_config.json"]));
    response.writeHead(301, { "x-amz-bucket-region": "eu-north-1" });
    return response.end(failure("PermanentRedirect"));
  });
  assert.equal((await source.list(never)).files.length, 1);
});

test("checksums are those of the whole content, or none", async (t) => {
  let headers: Record<string, string> = {};
  const source = await sourceOf(t, (_, response) => {
    response.writeHead(200, { "content-length": "5", ...headers }).end();
  });
  const digestOf = async (etag: string, more: Record<string, string>) => {
    headers = { etag, ...more };
    const file = { path: "x", sizeBytes: 5, digest: undefined, validator: etag };
    return (await source.describe?.(file, never))?.digest;
  };
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32("hello"));
  const isCrc = { "x-amz-checksum-crc32": crc.toString("base64") };
  assert.deepEqual(await digestOf(`"${MD5}"`, {}), { algorithm: "md5", hex: MD5 });
  assert.deepEqual(await digestOf(`"${MD5}"`, isCrc), {
    algorithm: "crc32",
    hex: crc.toString("hex"),
  });
  assert.equal(
    await digestOf(`"${MD5}"`, { "x-amz-server-side-encryption": "aws:kms" }),
    undefined,
  );
  assert.equal(await digestOf(`"${MD5}-3"`, isCrc), undefined);
  assert.equal(
    (await digestOf(`"${MD5}-3"`, { ...isCrc, "x-amz-checksum-type": "FULL_OBJECT" }))?.algorithm,
    "crc32",
  );
  headers = { etag: '"other"' };
  const listed = { path: "x", sizeBytes: 5, digest: undefined, validator: `"${MD5}"` };
  await assert.rejects(async () => source.describe?.(listed, never), /changed at its source/);
});

test("keys with characters that no key has are not sent", async (t) => {
  const source = () =>
    sourceOf(t, () => assert.fail("asked"), { ...CREDENTIALS, aws_session_token: "a\nb: c" });
  await assert.rejects(source, { code: "InvalidCredentials", message: /aws_session_token/ });
});

test("tos: the S3 address of a region, by its name or by the native address", () => {
  const place = (endpoint: string | undefined, region?: string) => {
    const { endpoint: url, region: of, forcePathStyle } = tosPlace(endpoint, region);
    return [url, of, forcePathStyle];
  };
  const beijing = ["https://tos-s3-cn-beijing.volces.com", "cn-beijing", false];
  assert.deepEqual(place(undefined, "cn-beijing"), beijing);
  assert.deepEqual(place("tos-cn-beijing.volces.com"), beijing);
  assert.deepEqual(place("https://tos-s3-cn-beijing.volces.com/"), beijing);
  assert.deepEqual(place("tos-cn-beijing.ivolces.com"), [
    "https://tos-s3-cn-beijing.ivolces.com",
    "cn-beijing",
    false,
  ]);
  assert.deepEqual(place("http://127.0.0.1:9000", "r"), ["http://127.0.0.1:9000", "r", true]);
  assert.deepEqual(place("http://tos:9000", "r"), ["http://tos:9000", "r", true]);
  assert.throws(() => place(undefined), /TOS_ENDPOINT or TOS_REGION/);
});

test("signatures are AWS' own: its documentation's example", () => {
  const key = {
    accessKeyId: "AKIAIOSFODNN7EXAMPLE",
    secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  };
  const url = new URL("https://examplebucket.s3.amazonaws.com/test.txt");
  const nowMs = Date.UTC(2013, 4, 24);
  const sent = signedHeaders(url, { range: "bytes=0-9" }, { key, region: "us-east-1", nowMs });
  assert.equal(
    sent["authorization"],
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
      "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, " +
      "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  );
  assert.equal(regionOf(sent["authorization"]), "us-east-1");
  assert.equal(
    regionOf("AWS4-ECDSA-P256-SHA256 Credential=a/20130524/s3/aws4_request,"),
    undefined,
  );
});

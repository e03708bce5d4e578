import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { UserError } from "#base/errors.ts";
import { fuzzRuns } from "#test/support/fuzz.ts";
import { parseArtifactUrl, redactArtifactUrl } from "./artifact-url.ts";

const accepted: [string, object][] = [
  ["huggingface://org/repo", { kind: "huggingface", repo: "org/repo", revision: undefined }],
  ["hf://org/repo@refs/pr/1", { kind: "huggingface", repo: "org/repo", revision: "refs/pr/1" }],
  ["s3://test-bucket/test-model", { kind: "s3", bucket: "test-bucket", prefix: "test-model" }],
  ["s3://bucket/a/b/", { kind: "s3", bucket: "bucket", prefix: "a/b" }],
  ["gcs://bucket/a", { kind: "gs", bucket: "bucket", prefix: "a" }],
  ["gs://bucket", { kind: "gs", bucket: "bucket", prefix: "" }],
  ["tos://bucket/x", { kind: "tos", bucket: "bucket", prefix: "x" }],
  ["https://host/a.zip?sig=1", { kind: "http", url: "https://host/a.zip?sig=1" }],
  ["/models/yard1/lora/", { kind: "path", path: "/models/yard1/lora" }],
];
for (const [url, parts] of accepted) {
  test(`artifactURL ${url} is taken apart`, () => assert.deepEqual(parseArtifactUrl(url), parts));
}

const refused: [string, RegExp][] = [
  ["", /no scheme/],
  ["aabbcc", /no scheme/],
  ["ms://org/repo", /ms:\/\/ is not supported.*huggingface:\/\//],
  ["hugingface://org/repo", /not supported/],
  ["huggingface://repo", /organisation/],
  ["huggingface://../repo", /organisation/],
  ["s3://b", /bucket/],
  ["s3://bucket/a/../b", /\.\./],
  ["/models/../etc", /\.\./],
  ["/", /no folder/],
  ["http://", /not a valid/],
  ["/models/a\n", /control character/],
];
for (const [url, why] of refused) {
  test(`artifactURL ${JSON.stringify(url)} is refused with the cure`, () => {
    assert.throws(
      () => parseArtifactUrl(url),
      (error) => error instanceof UserError && why.test(error.message),
    );
  });
}

const SECRET = "s3cr3tWord";
const piece = fc.oneof(
  fc.constantFrom(
    ..."/.@?#:\\ %&=[]~",
    "..",
    "//",
    "%2e%2e",
    "%2F",
    "%00",
    "\0",
    "\n",
    "\u202e",
    "é",
    "a",
    "org",
    "b.c",
  ),
  fc.string({ maxLength: 5 }),
);
const pieces = fc.array(piece, { maxLength: 12 }).map((parts) => parts.join(""));
const schemes = [
  "s3",
  "S3",
  "gs",
  "gcs",
  "tos",
  "hf",
  "huggingface",
  "http",
  "HTTPS",
  "https",
  "file",
  "x",
];
const scheme = fc.constantFrom(...schemes.map((name) => `${name}://`), "https:", "/", "//", "");
const userinfo = fc.constantFrom(
  "",
  `user:${SECRET}@`,
  `${SECRET}@`,
  `${SECRET}:@`,
  `a@${SECRET}@`,
);
const query = fc.constantFrom(
  "",
  `?${SECRET}`,
  `?a=b&X-Sig=${SECRET}`,
  `#${SECRET}`,
  `?a#${SECRET}`,
);

test("any text is either taken apart, within its bounds, or refused as the user's mistake", () => {
  fc.assert(
    fc.property(scheme, pieces, pieces, (start, first, second) => {
      const text = `${start}${first}/${second}`;
      let url: ReturnType<typeof parseArtifactUrl>;
      try {
        url = parseArtifactUrl(text);
      } catch (error) {
        assert.ok(error instanceof UserError, String(error));
        return;
      }
      const elements = (path: string) => path.split("/");
      if (url.kind === "path") {
        assert.ok(url.path.startsWith("/") && !elements(url.path).includes(".."), url.path);
      } else if (url.kind === "huggingface") {
        assert.match(url.repo, /^[\w.-]+\/[\w.-]+$/);
        assert.ok(!elements(url.repo).some((part) => /^\.+$/.test(part)), url.repo);
      } else if (url.kind === "http") {
        assert.match(new URL(url.url).protocol, /^https?:$/);
      } else {
        assert.ok(!elements(url.prefix).some((part) => part === ".." || part === "."), url.prefix);
        assert.doesNotMatch(url.prefix, /^\/|\/$/);
        assert.match(url.bucket, /^[\w.-]+$/);
      }
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
      assert.doesNotMatch(JSON.stringify(Object.values(url)), /\\u00[01]|[\u0000-\u001f]/);
    }),
    fuzzRuns(1000),
  );
});

/** Those of URLs; what begins otherwise has no userinfo. */
const urlScheme = scheme.filter((start) => start.includes(":"));

test("neither what is shown of a URL nor its refusal tells userinfo, query or fragment", () => {
  fc.assert(
    fc.property(urlScheme, userinfo, pieces, pieces, query, (start, user, host, path, end) => {
      const text = `${start}${user}${host.replace(/[/?#\\]/g, "")}/${path.replace(/[?#]/g, "")}${end}`;
      assert.ok(!redactArtifactUrl(text).includes(SECRET), text);
      try {
        parseArtifactUrl(text);
      } catch (error) {
        assert.ok(!String(error).includes(SECRET), text);
      }
    }),
    fuzzRuns(1000),
  );
});

test("what is shown of a URL has no userinfo, query or fragment", () => {
  const url = "https://user:secret@host/a.zip?X-Amz-Signature=secret#secret";
  assert.equal(redactArtifactUrl(url), "https://host/a.zip");
  assert.equal(redactArtifactUrl("s3://key:secret@bucket/a?secret"), "s3://bucket/a");
  assert.equal(redactArtifactUrl("/models/a"), "/models/a");
});

test("a URL without slashes behind its scheme is shown without its userinfo, too", () => {
  assert.equal(redactArtifactUrl("https:user:secret@host/a"), "https://host/a");
});

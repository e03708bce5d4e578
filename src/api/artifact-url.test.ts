import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { UserError } from "#base/errors.ts";
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

test("any text is either taken apart or refused as the user's mistake", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.webUrl({ withQueryParameters: true })), (text) => {
      try {
        parseArtifactUrl(text);
      } catch (error) {
        assert(error instanceof UserError);
      }
    }),
  );
});

test("what is shown of a URL has no userinfo, query or fragment", () => {
  const url = "https://user:secret@host/a.zip?X-Amz-Signature=secret#secret";
  assert.equal(redactArtifactUrl(url), "https://host/a.zip");
  assert.equal(redactArtifactUrl("s3://key:secret@bucket/a?secret"), "s3://bucket/a");
  assert.equal(redactArtifactUrl("/models/a"), "/models/a");
});

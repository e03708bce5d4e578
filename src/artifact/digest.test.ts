import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32c, crc64nvme } from "./crc.ts";
import {
  cheapestDigest,
  createHasher,
  DIGEST_ALGORITHMS,
  type DigestAlgorithm,
  digestOfBase64,
} from "./digest.ts";

const text = (value: string) => Buffer.from(value, "latin1");

test("the catalogue's check values, and those of RFC 3720", () => {
  const hex: Record<DigestAlgorithm, string> = {
    crc32: "cbf43926",
    crc32c: "e3069283",
    crc64nvme: "ae8b14860a799888",
    md5: "25f9e794323b453885f5181f1b624d0b",
    sha1: "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    sha256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
  };
  for (const algorithm of DIGEST_ALGORITHMS) {
    const hasher = createHasher(algorithm);
    hasher.update(text("12345"));
    hasher.update(text("6789"));
    assert.equal(hasher.hex(), hex[algorithm], algorithm);
  }
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 255)), 0x62a8ab43);
  assert.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e);
});

test("in whatever pieces the bytes come, the checksum is the same", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), fc.nat(7), (more, at, skipped) => {
      // Wherever they lie in memory.
      const bytes = more.subarray(skipped);
      const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
      assert.equal(crc32c(tail, crc32c(head)), crc32c(bytes));
      assert.deepEqual(crc64nvme(tail, crc64nvme(head)), crc64nvme(bytes));
    }),
  );
});

test("what is not a digest of the whole content is none", () => {
  const crc = Buffer.from("e3069283", "hex").toString("base64");
  assert.deepEqual(digestOfBase64("crc32c", crc), { algorithm: "crc32c", hex: "e3069283" });
  assert.equal(digestOfBase64("crc32c", `${crc}-3`), undefined);
  assert.equal(digestOfBase64("md5", crc), undefined);
  assert.equal(digestOfBase64("md5", undefined), undefined);
  const md5 = Buffer.alloc(16).toString("base64");
  assert.equal(cheapestDigest({ md5, crc32c: crc })?.algorithm, "crc32c");
  assert.equal(cheapestDigest({}), undefined);
});

import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { type Crc64, crc32c, crc64nvme } from "./crc.ts";

/** What a store says that a file's content hashes to. */
export interface Digest {
  readonly algorithm: DigestAlgorithm;
  readonly hex: string;
}

/** Cheapest first: any of them finds what the way or the disk damaged. */
export const DIGEST_ALGORITHMS = ["crc32", "sha1", "sha256", "crc32c", "crc64nvme", "md5"] as const;
export type DigestAlgorithm = (typeof DIGEST_ALGORITHMS)[number];

export interface Hasher {
  update(bytes: Uint8Array): void;
  /** Call once, at the end. */
  hex(): string;
}

/** Computes the digest of bytes that come in pieces. */
export function createHasher(algorithm: DigestAlgorithm): Hasher {
  switch (algorithm) {
    case "crc32":
      return checksum<number>((bytes, before) => crc32(bytes, before), 0, hex32);
    case "crc32c":
      return checksum<number>(crc32c, 0, hex32);
    case "crc64nvme": {
      const none: Crc64 = { high: 0, low: 0 };
      return checksum(crc64nvme, none, ({ high, low }) => hex32(high) + hex32(low));
    }
    default: {
      const hash = createHash(algorithm);
      return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest("hex") };
    }
  }
}

function checksum<T>(
  next: (bytes: Uint8Array, before: T) => T,
  first: T,
  hex: (value: T) => string,
): Hasher {
  let value = first;
  return {
    update: (bytes) => {
      value = next(bytes, value);
    },
    hex: () => hex(value),
  };
}

const hex32 = (value: number) => value.toString(16).padStart(8, "0");

const HEX_LENGTHS: Record<DigestAlgorithm, number> = {
  crc32: 8,
  crc32c: 8,
  crc64nvme: 16,
  md5: 32,
  sha1: 40,
  sha256: 64,
};

/** A digest that a store wrote in base64; undefined when it is not one, such as S3's digests of digests. */
export function digestOfBase64(
  algorithm: DigestAlgorithm,
  base64: string | undefined,
): Digest | undefined {
  if (base64 === undefined || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  const hex = Buffer.from(base64, "base64").toString("hex");
  return hex.length === HEX_LENGTHS[algorithm] ? { algorithm, hex } : undefined;
}

/** The cheapest of the digests that a store tells in base64. */
export function cheapestDigest(
  told: Readonly<Partial<Record<DigestAlgorithm, string | undefined>>>,
): Digest | undefined {
  for (const algorithm of DIGEST_ALGORITHMS) {
    const digest = digestOfBase64(algorithm, told[algorithm]);
    if (digest !== undefined) return digest;
  }
  return undefined;
}

import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Version } from "./store.ts";

/** Less than a millisecond of hashing: whoever else has something to do comes in between. */
const PIECE_BYTES = 1 << 20;

/** SHA-256 of each file of a version, in the order of its record; what is known is not computed again. */
export async function hashFiles({ path, record }: Version, signal: AbortSignal): Promise<string[]> {
  const hashes: string[] = [];
  for (const file of record.files) {
    hashes.push(file.sha256 ?? (await sha256OfFile(join(path, file.path), signal)));
  }
  return hashes;
}

/** @throws the reason of `signal`; what the file system says. */
export async function sha256OfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const file = await open(path, "r");
  try {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await file.read(piece, 0, PIECE_BYTES);
      if (bytesRead === 0) return hash.digest("hex");
      hash.update(piece.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { ADAPTER_CONFIG } from "./adapter-files.ts";
import type { ArchiveLimits } from "./archive.ts";
import { ArtifactError } from "./errors.ts";
import type { Content } from "./source.ts";

/** Where an archive is unpacked, beside its own file. */
const UNPACKED = "unpacked";

/**
 * Unpacks the archive `file` of the folder `staged`, and removes it.
 * @returns the folder in it that is the adapter; all of it for a model.
 * @throws ArtifactError InvalidArtifact; nothing of `staged` is left then.
 */
export async function unpack(
  staged: string,
  file: string,
  content: Content,
  limits: ArchiveLimits,
  signal: AbortSignal,
): Promise<string> {
  const archive = join(staged, file);
  const into = join(staged, UNPACKED);
  await rm(into, { recursive: true, force: true });
  await mkdir(into);
  try {
    // Loaded when the first archive comes: most adapters are folders.
    const { unpackArchive } = await import("./archive.ts");
    await unpackArchive(archive, into, limits, signal);
    const folder = content === "adapter" ? await adapterFolder(into) : into;
    await rm(archive);
    return folder;
  } catch (error) {
    if (!signal.aborted) await rm(staged, { recursive: true, force: true });
    throw error;
  }
}

/** People pack a folder or what is in it. */
const SEARCH_DEPTH_MAX = 3;

async function adapterFolder(top: string): Promise<string> {
  let level = [top];
  for (let depth = 0; depth <= SEARCH_DEPTH_MAX; depth++) {
    const below: string[] = [];
    const found: string[] = [];
    for (const folder of level) {
      const entries = await readdir(folder, { withFileTypes: true });
      if (entries.some((entry) => entry.isFile() && entry.name === ADAPTER_CONFIG)) {
        found.push(folder);
      }
      below.push(...entries.filter((e) => e.isDirectory()).map((e) => join(folder, e.name)));
    }
    if (found.length > 1) {
      throw new ArtifactError(
        "InvalidArtifact",
        `The archive holds ${found.length} adapters: pack one adapter's folder alone`,
      );
    }
    if (found[0] !== undefined) return found[0];
    level = below;
  }
  return top;
}

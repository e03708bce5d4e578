import { stat } from "node:fs/promises";
import { ArtifactError } from "./errors.ts";

/**
 * An adapter on storage that others manage: used where it lies, never copied, never deleted.
 * @returns false when this process cannot see the folder; the engine, which may have other mounts, still may.
 * @throws ArtifactError InvalidArtifact when there is a file where a folder should be.
 */
export async function isVisibleFolder(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true;
  } catch {
    return false;
  }
  throw new ArtifactError("InvalidArtifact", `${path} is a file: name the folder that it lies in`);
}

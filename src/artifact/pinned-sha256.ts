import { join } from "node:path";
import { ADAPTER_WEIGHTS } from "./adapter-files.ts";
import { ArtifactError } from "./errors.ts";
import { sha256OfFile } from "./hash-files.ts";

/**
 * Checks an adapter against the `sha256` that its owner wrote down: that of the archive when it came as
 * one, else of its weights.
 * @param known the hash when it was computed during the download.
 * @throws ArtifactError InvalidArtifact when it is another.
 */
export async function checkPinnedSha256(
  folder: string,
  known: string | undefined,
  pinned: string | undefined,
): Promise<void> {
  if (pinned === undefined) return;
  const actual = known ?? (await sha256OfWeights(join(folder, ADAPTER_WEIGHTS)));
  if (actual === pinned) return;
  throw new ArtifactError(
    "InvalidArtifact",
    `The artifact's sha256 is ${actual}, and additionalConfig wants ${pinned}: ` +
      "publish the right file, or correct additionalConfig.sha256",
  );
}

async function sha256OfWeights(path: string): Promise<string> {
  try {
    return await sha256OfFile(path);
  } catch (error) {
    throw new ArtifactError(
      "InvalidArtifact",
      `The artifact has no readable ${ADAPTER_WEIGHTS}, which additionalConfig.sha256 is for`,
      { cause: error },
    );
  }
}

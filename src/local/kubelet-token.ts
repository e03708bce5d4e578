import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { readFileIfThere, writeFileAtomically } from "./pods/files.ts";

/** Where the bearer token of the kubelet's port lies unless a flag says otherwise. */
export const kubeletTokenFile = (stateDir: string) => join(stateDir, "kubelet-token");

/** The token in a file, which is made when it is not there. */
export function readOrMakeToken(path: string): string {
  const held = readFileIfThere(path)?.trim();
  if (held !== undefined && held !== "") return held;
  const token = randomBytes(32).toString("hex");
  writeFileAtomically(path, `${token}\n`);
  return token;
}

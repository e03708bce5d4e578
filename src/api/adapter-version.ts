import { hashHex } from "#base/hash.ts";
import type { ModelAdapterSpec } from "./model-adapter.ts";
import { API_KEY_CONFIG } from "./names.ts";

const VERSION_LENGTH = 12;

/** Names the state of what a spec says about the artifact: another name, another version to load. The engine's key is no part of it. */
export function versionOf(spec: ModelAdapterSpec): string {
  const config = Object.entries(spec.additionalConfig ?? {})
    .filter(([key]) => key !== API_KEY_CONFIG)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const what = [spec.artifactURL, spec.credentialsSecretRef?.name ?? "", config];
  return hashHex(JSON.stringify(what)).slice(0, VERSION_LENGTH);
}

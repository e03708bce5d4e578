import type { SourceSettings } from "#artifact/source.ts";

/** Settings of a sidecar whose environment says nothing, on a machine of its own. */
export const SOURCE_SETTINGS: SourceSettings = {
  huggingFaceEndpoint: "https://huggingface.co",
  huggingFaceToken: undefined,
  s3: { endpoint: undefined, region: undefined },
  gcs: { endpoint: undefined, metadataUrl: "http://metadata.google.internal", keyFile: undefined },
  tos: { endpoint: undefined, region: undefined, accessKey: undefined, secretKey: undefined },
  allowPrivateAddresses: false,
  allowPickle: false,
};

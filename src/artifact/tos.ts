import { ArtifactError } from "./errors.ts";
import { secretText } from "./s3.ts";
import { type Bucket, bucketSource } from "./s3-bucket.ts";
import type { ArtifactSource, SourceContext } from "./source.ts";

const WORDS = {
  keys: "TOS_ACCESS_KEY and TOS_SECRET_KEY of the Secret or the environment",
  permissions: "tos:ListBucket on the bucket and tos:GetObject on its objects",
};

/** The native and the S3 address of a region, inside and outside of Volcano Engine. */
const HOST = /^tos-(?:s3-)?([a-z]+-[a-z0-9-]+?)\.(i?volces\.com)$/;

/** tos://bucket/path on Volcano Engine, through the addresses that speak S3's protocol. */
export function tosSource(bucket: Omit<Bucket, "scheme">, context: SourceContext): ArtifactSource {
  const { credentials, settings } = context;
  const get = (name: string) => secretText(credentials, name);
  const named = get("TOS_ENDPOINT") ?? settings.tos.endpoint;
  const region = get("TOS_REGION") ?? settings.tos.region;
  const place = tosPlace(named, region);
  // A pair belongs together: half of the Secret's and half of the environment's is no pair.
  const pair = [get("TOS_ACCESS_KEY"), get("TOS_SECRET_KEY")];
  const isSecret = pair.some((value) => value !== undefined);
  const [accessKeyId, secretAccessKey] = isSecret
    ? pair
    : [settings.tos.accessKey, settings.tos.secretKey];
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw accessKeyId === undefined && secretAccessKey === undefined
      ? new ArtifactError(
          "AccessDenied",
          `Access denied to tos://${bucket.bucket}/${bucket.prefix}: no credentials were given; set ${WORDS.keys}`,
        )
      : new ArtifactError(
          "InvalidCredentials",
          "Invalid credentials: both TOS_ACCESS_KEY and TOS_SECRET_KEY are needed",
        );
  }
  const access = { ...place, credentials: { accessKeyId, secretAccessKey }, words: WORDS };
  return bucketSource({ ...bucket, scheme: "tos" }, access, context);
}

/**
 * Where a region's buckets are asked. The store itself wants the bucket's name in the host; a stand-in
 * at an address or a name of this machine cannot have that.
 * @throws ArtifactError when neither endpoint nor region is known.
 */
export function tosPlace(named: string | undefined, region: string | undefined) {
  if (named === undefined && region === undefined) {
    throw new ArtifactError(
      "InvalidRequest",
      "tos:// needs TOS_ENDPOINT or TOS_REGION: set one in the Secret or the environment",
    );
  }
  const text = named ?? `tos-s3-${region}.volces.com`;
  const full = /^https?:\/\//i.test(text) ? text : `https://${text}`;
  if (!URL.canParse(full)) {
    throw new ArtifactError("InvalidRequest", "TOS_ENDPOINT is not a host or an http(s) URL");
  }
  const url = new URL(full);
  const match = HOST.exec(url.hostname);
  if (match !== null) url.hostname = `tos-s3-${match[1]}.${match[2]}`;
  return {
    endpoint: url.toString().replace(/\/+$/, ""),
    region: region ?? match?.[1] ?? "cn-beijing",
    forcePathStyle: !url.hostname.includes(".") || /^[\d.]+$|^\[/.test(url.hostname),
  };
}

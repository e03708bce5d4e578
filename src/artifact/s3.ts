import { ArtifactError } from "./errors.ts";
import { type Bucket, type BucketAccess, bucketSource } from "./s3-bucket.ts";
import type { ArtifactSource, Credentials, SourceContext } from "./source.ts";

/** Where AWS' own clients look for a bucket of unknown region; the store names the right one. */
const REGION = "us-east-1";

const WORDS = {
  keys: "aws_access_key_id and aws_secret_access_key (and aws_session_token for short-lived ones) of the Secret",
  permissions: "s3:ListBucket on the bucket and s3:GetObject on its objects",
};

/** s3://bucket/path, on AWS or whatever speaks its protocol. */
export function s3Source(bucket: Omit<Bucket, "scheme">, context: SourceContext): ArtifactSource {
  const { credentials, settings } = context;
  const endpoint = endpointOf(credentials["aws_endpoint_url"]) ?? settings.s3.endpoint;
  const access: BucketAccess = {
    endpoint,
    region: credentials["aws_region"]?.trim() || settings.s3.region || REGION,
    // A store of one's own rarely has a name for each bucket.
    forcePathStyle: endpoint !== undefined && !/\.amazonaws\.com(\.cn)?$/.test(hostOf(endpoint)),
    credentials: keysOf(credentials, context.areCredentialsGiven),
    words: WORDS,
  };
  return bucketSource({ ...bucket, scheme: "s3" }, access, context);
}

const hostOf = (url: string) => new URL(url).hostname;

function endpointOf(text: string | undefined): string | undefined {
  const url = text?.trim();
  if (url === undefined || url === "") return undefined;
  if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return url;
  throw new ArtifactError(
    "InvalidCredentials",
    "Invalid credentials: aws_endpoint_url is not an http(s) URL",
  );
}

/**
 * The keys of the Secret; undefined when they are left to the platform: environment, web identity,
 * container, instance.
 */
function keysOf(credentials: Credentials, areGiven: boolean): BucketAccess["credentials"] {
  const get = (name: string) => secretText(credentials, name);
  const [accessKeyId, secretAccessKey] = [get("aws_access_key_id"), get("aws_secret_access_key")];
  const sessionToken = get("aws_session_token");
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    return {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
    };
  }
  const isHalf = accessKeyId !== undefined || secretAccessKey !== undefined;
  // A Secret that only names a region or an endpoint leaves the rest to the platform.
  const isOther = areGiven && !Object.keys(credentials).some((name) => name.startsWith("aws_"));
  if (!isHalf && !isOther) return undefined;
  throw new ArtifactError(
    "InvalidCredentials",
    `Invalid credentials: the Secret needs both aws_access_key_id and aws_secret_access_key`,
  );
}

/**
 * A value that is sent in a header: without the line end that `echo` adds.
 * @throws ArtifactError InvalidCredentials when it cannot be a key at all.
 */
export function secretText(credentials: Credentials, name: string): string | undefined {
  const value = credentials[name]?.trim();
  if (value === undefined || value === "") return undefined;
  if (/^[\x21-\x7e]+$/.test(value)) return value;
  throw new ArtifactError(
    "InvalidCredentials",
    `Invalid credentials: ${name} has characters that no key has; check the Secret`,
  );
}

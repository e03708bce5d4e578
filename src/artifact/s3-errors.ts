import { describeError } from "#base/network-error.ts";
import { ArtifactError, httpStatusError } from "./errors.ts";
import { SourceChangedError } from "./source.ts";

/** How a store of S3's kind is spoken of. */
export interface StoreWords {
  /** The artifact, such as s3://bucket/path. */
  readonly what: string;
  /** Where its credentials are to be set. */
  readonly keys: string;
  /** What a user must be allowed to do. */
  readonly permissions: string;
}

const EXPIRED = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"];
const WRONG = [
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "InvalidToken",
  "InvalidClientTokenId",
  "InvalidIdentityToken",
  "InvalidIdentityTokenException",
  "InvalidSecurity",
  "UnrecognizedClientException",
  "IncompleteSignature",
];
const BUSY = [
  "SlowDown",
  "Throttling",
  "ThrottlingException",
  "RequestLimitExceeded",
  "RequestThrottled",
  "TooManyRequests",
  "ServiceUnavailable",
  "InternalError",
  "RequestTimeout",
];
const ELSEWHERE = [
  "PermanentRedirect",
  "TemporaryRedirect",
  "AuthorizationHeaderMalformed",
  "IllegalLocationConstraintException",
];

/**
 * What an error of the SDK means. Only the store's code is looked at: its message may repeat what it was
 * sent.
 */
export function s3Error(error: unknown, words: StoreWords, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof ArtifactError || error instanceof SourceChangedError) return error;
  const { what, keys, permissions } = words;
  const code = error instanceof Error ? error.name : "";
  const status = statusOf(error);
  const make = (kind: ConstructorParameters<typeof ArtifactError>[0], sentence: string) =>
    new ArtifactError(kind, sentence, { cause: error });
  if (EXPIRED.includes(code)) {
    return make(
      "InvalidCredentials",
      `Invalid credentials for ${what}: they have expired (${code}); renew ${keys}`,
    );
  }
  if (WRONG.includes(code)) {
    return make("InvalidCredentials", `Invalid credentials for ${what} (${code}); check ${keys}`);
  }
  if (code === "RequestTimeTooSkewed") {
    return make(
      "InvalidCredentials",
      `Invalid credentials for ${what} (${code}): the clock of this machine is wrong; set it right`,
    );
  }
  if (BUSY.includes(code)) return make("Unreachable", `service unavailable: ${what} (${code})`);
  if (code === "NoSuchBucket") {
    return make("NotFound", `Not found: the bucket of ${what}; check the artifact URL`);
  }
  if (ELSEWHERE.includes(code) || status === 301 || status === 307) {
    return make(
      "InvalidRequest",
      `${what} lies in another region (${code || status}): set aws_region, or the endpoint of its region`,
    );
  }
  if (isWithoutCredentials(error)) {
    return make("AccessDenied", `Access denied to ${what}: no credentials were given; set ${keys}`);
  }
  if (status === 403) {
    return make(
      "AccessDenied",
      `Access denied to ${what}: the credentials do not allow it (${code || status}); they need ${permissions}`,
    );
  }
  if (status !== undefined && status >= 300) {
    return httpStatusError(status, what, { sent: true, advice: keys });
  }
  if (status !== undefined) {
    return make("Unreachable", `${what}: the store's answer cannot be read`);
  }
  return make("Unreachable", `${what}: ${describeError(error)}`);
}

/** Of the answer that the SDK made an error of. */
export function statusOf(error: unknown): number | undefined {
  const { $metadata: metadata, $response: response } = (error ?? {}) as {
    $metadata?: { httpStatusCode?: unknown };
    $response?: { statusCode?: unknown };
  };
  const status = metadata?.httpStatusCode ?? response?.statusCode;
  return typeof status === "number" ? status : undefined;
}

/** The chain of the platform found none, or a link of it failed by itself. */
function isWithoutCredentials(error: unknown): boolean {
  return (
    error instanceof Error && /^(CredentialsProviderError|TokenProviderError)$/.test(error.name)
  );
}

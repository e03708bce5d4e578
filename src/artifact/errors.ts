/**
 * What can go wrong between an artifact URL and a published folder: the HTTP status that fits, and whether
 * the same request may work later without anybody changing anything.
 */
const KINDS = {
  /** The request itself cannot be meant: a bad name, a bad URL, an option that is not one. */
  InvalidRequest: { status: 400, retriable: false },
  InvalidCredentials: { status: 401, retriable: false },
  AccessDenied: { status: 403, retriable: false },
  NotFound: { status: 404, retriable: false },
  /** An unload came while the artifact was on its way. */
  Cancelled: { status: 409, retriable: true },
  InvalidArtifact: { status: 422, retriable: false },
  /** The scheme is known, and cannot give what is asked for. */
  Unsupported: { status: 501, retriable: false },
  Unreachable: { status: 502, retriable: true },
  /** Room can be made, or another pod can have it. */
  NoSpace: { status: 507, retriable: true },
} as const;

export type ArtifactErrorCode = keyof typeof KINDS;

/** Delivery failed. The message is a sentence for the user, without secrets. */
export class ArtifactError extends Error {
  override readonly name = "ArtifactError";
  readonly code: ArtifactErrorCode;
  /** HTTP status for whoever asked for the delivery. */
  readonly status: number;
  readonly retriable: boolean;

  constructor(code: ArtifactErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.status = KINDS[code].status;
    this.retriable = KINDS[code].retriable;
  }
}

/** The disk is full, or the quota is used up. */
export function isNoSpace(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "ENOSPC" || code === "EDQUOT";
}

export function noSpace(root: string, cause?: unknown): ArtifactError {
  return new ArtifactError(
    "NoSpace",
    `No space left for adapters in ${root}: free some, unload adapters or enlarge the volume`,
    { cause },
  );
}

/**
 * What a store's HTTP status means. `what` names the thing asked for, without secrets; `advice` says
 * where its credentials come from.
 */
export function httpStatusError(
  status: number,
  what: string,
  credentials: { sent: boolean; advice: string },
): ArtifactError {
  if (status === 401 && credentials.sent) {
    return new ArtifactError(
      "InvalidCredentials",
      `Invalid credentials for ${what}: the server answered 401; check ${credentials.advice}`,
    );
  }
  if (status === 401) {
    return new ArtifactError(
      "AccessDenied",
      `Access denied to ${what}: the server asks for credentials (401) and none were given; set ${credentials.advice}`,
    );
  }
  if (status === 404 || status === 410) {
    return new ArtifactError("NotFound", `Not found: ${what}; check the artifact URL`);
  }
  if (status === 408 || status === 504) {
    return new ArtifactError("Unreachable", `timeout: ${what} answered ${status}`);
  }
  if (status === 429 || status >= 500) {
    return new ArtifactError("Unreachable", `service unavailable: ${what} answered ${status}`);
  }
  return new ArtifactError(
    "AccessDenied",
    `Access denied to ${what}: the server answered ${status}; check ${credentials.advice}`,
  );
}

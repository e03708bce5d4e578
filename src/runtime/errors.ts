import { ArtifactError } from "#artifact/errors.ts";
import { isAbort } from "#base/abort.ts";
import { UserError } from "#base/errors.ts";
import { describeError } from "#base/network-error.ts";
import { EngineError } from "#engine/errors.ts";

/** An error as callers get it: `{"error", "code", "retriable"}` with a status that fits. */
export interface Problem {
  readonly status: number;
  readonly error: string;
  readonly code: string;
  readonly retriable: boolean;
}

/** The request cannot be meant like this. */
export const badRequest = (error: string): ArtifactError =>
  new ArtifactError("InvalidRequest", error);

/** What the caller is told about anything thrown. Secrets have been taken out by whoever knew them. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ArtifactError) {
    const { status, code, retriable } = error;
    return { status, error: error.message, code, retriable };
  }
  if (error instanceof EngineError) return engineProblem(error);
  if (error instanceof UserError) return problemOf(badRequest(error.message));
  if (isAbort(error)) {
    const words =
      error instanceof Error && error.name === "TimeoutError"
        ? "timeout: the download took too long"
        : "service unavailable: the sidecar is stopping";
    return { status: 503, error: words, code: "Unreachable", retriable: true };
  }
  return { status: 500, error: describeError(error), code: "Internal", retriable: true };
}

function engineProblem({ code, message, retriable }: EngineError): Problem {
  const error = message;
  switch (code) {
    case "Unreachable":
      return {
        status: /timeout/.test(message) ? 504 : 503,
        error: `the engine cannot be reached: ${message}`,
        code: "EngineUnavailable",
        retriable,
      };
    case "Unavailable":
      return { status: 503, error, code: "EngineUnavailable", retriable };
    case "Unauthorized":
      return { status: 401, error, code: "EngineRejected", retriable };
    default:
      return { status: 400, error, code: "EngineRejected", retriable };
  }
}

import type { JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";
import { type FieldError, fieldErrorsText } from "../schema/field-error.ts";

/** A refusal as clients get it: the body is a metav1.Status. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status. */
  readonly code: number;
  /** metav1.StatusReason, e.g. `NotFound`. */
  readonly reason: string;
  readonly details: JsonObject | undefined;

  constructor(code: number, reason: string, message: string, details?: JsonObject) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
  }

  /** The metav1.Status to answer with. */
  status(): JsonObject {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      ...(this.reason === "" ? {} : { reason: this.reason }),
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.code,
    };
  }
}

/** `plural.group`, the way messages name resources. */
const resourceName = ({ plural, group }: Pick<Kind, "plural" | "group">) =>
  group === "" ? plural : `${plural}.${group}`;

const detailsOf = (kind: Kind, name: string, more: JsonObject = {}): JsonObject => ({
  ...(name === "" ? {} : { name }),
  ...(kind.group === "" ? {} : { group: kind.group }),
  kind: kind.plural,
  ...more,
});

export const notFound = (kind: Kind, name: string) =>
  new ApiError(404, "NotFound", `${resourceName(kind)} "${name}" not found`, detailsOf(kind, name));

export const alreadyExists = (kind: Kind, name: string, isDeleting: boolean) =>
  new ApiError(
    409,
    "AlreadyExists",
    `${isDeleting ? "object is being deleted: " : ""}${resourceName(kind)} "${name}" already exists`,
    detailsOf(kind, name),
  );

export const conflict = (kind: Kind, name: string, message: string) =>
  new ApiError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${resourceName(kind)} "${name}": ${message}`,
    detailsOf(kind, name),
  );

/** The write rests on a version of the object that is no longer the newest. */
export const modifiedSince = (kind: Kind, name: string) =>
  conflict(
    kind,
    name,
    "the object has been modified; please apply your changes to the latest version and try again",
  );

export const forbidden = (kind: Kind, name: string, message: string, causes?: JsonObject[]) =>
  new ApiError(
    403,
    "Forbidden",
    `${resourceName(kind)} "${name}" is forbidden: ${message}`,
    detailsOf(kind, name, causes === undefined ? {} : { causes }),
  );

/** The object breaks rules; each one is told with its field. */
export function invalidObject(kind: Kind, name: string, errors: readonly FieldError[]): ApiError {
  const qualified = kind.group === "" ? kind.kind : `${kind.kind}.${kind.group}`;
  const causes = errors.map(({ field, reason, message }) => ({ reason, message, field }));
  return new ApiError(
    422,
    "Invalid",
    `${qualified} "${name}" is invalid: ${fieldErrorsText(errors)}`,
    {
      ...(name === "" ? {} : { name }),
      ...(kind.group === "" ? {} : { group: kind.group }),
      ...(kind.kind === "" ? {} : { kind: kind.kind }),
      causes,
    },
  );
}

export const badRequest = (message: string) => new ApiError(400, "BadRequest", message);

export const methodNotSupported = () =>
  new ApiError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    {},
  );

/** The watch or list asks for a past that is forgotten: the client has to start over. */
export const expired = (message: string) => new ApiError(410, "Expired", message);

import type { JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";
import type { User } from "./object-api.ts";

/** A write as admission webhooks are asked about it. */
export interface AdmissionRequest {
  readonly operation: "CREATE" | "UPDATE" | "DELETE";
  readonly kind: Kind;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** Undefined for DELETE. */
  readonly object: JsonObject | undefined;
  /** Undefined for CREATE. */
  readonly oldObject: JsonObject | undefined;
  readonly user: User;
  readonly dryRun: boolean;
}

/** Who may change or refuse a write after it was read and before it is stored. */
export interface Admission {
  /** The object as the webhooks want it. @throws ApiError when one of them refuses. */
  mutate(request: AdmissionRequest): Promise<{ object: JsonObject; warnings: readonly string[] }>;
  /** @throws ApiError when a webhook refuses. */
  validate(request: AdmissionRequest): Promise<{ warnings: readonly string[] }>;
}

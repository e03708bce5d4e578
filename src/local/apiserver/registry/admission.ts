import type { JsonObject } from "#base/json.ts";
import type { Kind } from "../kinds/kind.ts";
import type { User } from "./object-api.ts";

export type Operation = "CREATE" | "UPDATE" | "DELETE" | "CONNECT";

/** A write as admission is asked about it. */
export interface AdmissionRequest {
  readonly operation: Operation;
  /** The kind of the resource, whose `version` is the one that was asked for. */
  readonly kind: Kind;
  /** Empty for the object itself. */
  readonly subresource: string;
  /** What kind of object a subresource takes, e.g. Scale; left out when it is the resource's own. */
  readonly objectKind?: Pick<Kind, "group" | "version" | "kind">;
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  /** Empty when the name is still to be generated. */
  readonly name: string;
  /** Undefined for DELETE. */
  readonly object: JsonObject | undefined;
  /** Undefined for CREATE. */
  readonly oldObject: JsonObject | undefined;
  /** CreateOptions and the like. */
  readonly options?: JsonObject;
  readonly user: User;
  readonly dryRun: boolean;
}

/** Who may change or refuse a write after it was read and before it is stored. */
export interface Admission {
  /**
   * The object as it shall be.
   * @throws ApiError when somebody refuses the request, or is needed and cannot be asked.
   */
  mutate(
    request: AdmissionRequest,
  ): Promise<{ object: JsonObject | undefined; warnings: readonly string[] }>;
  /** @throws ApiError as `mutate` does. */
  validate(request: AdmissionRequest): Promise<{ warnings: readonly string[] }>;
}

import type { JsonObject } from "#base/json.ts";
import { groupVersionOf } from "../kinds/discovery.ts";
import type { Kind } from "../kinds/kind.ts";
import { toTable } from "../printing/table.ts";
import { badRequest } from "../registry/api-error.ts";
import { metadataOf } from "../registry/meta.ts";
import type { AnswerForm } from "./negotiate.ts";

type IncludeObject = "None" | "Metadata" | "Object";

/** How one client wants to see objects. */
export interface View {
  readonly form: AnswerForm;
  readonly includeObject: IncludeObject;
  readonly nowMs: number;
}

/** @throws ApiError (400) */
export function includeObjectOf(query: URLSearchParams): IncludeObject {
  const text = query.get("includeObject") || "Metadata";
  if (text === "None" || text === "Metadata" || text === "Object") return text;
  throw badRequest(
    `unrecognized includeObject value: ${JSON.stringify(text)}; use None, Metadata or Object`,
  );
}

const metadataOnly = (object: JsonObject): JsonObject => ({
  kind: "PartialObjectMetadata",
  apiVersion: "meta.k8s.io/v1",
  metadata: metadataOf(object),
});

/** One object as the client wants it. */
export function showObject(kind: Kind, object: JsonObject, view: View): JsonObject {
  switch (view.form.as) {
    case "Object":
      return object;
    case "PartialObjectMetadata":
      return metadataOnly(object);
    case "Table": {
      const { resourceVersion = "" } = metadataOf(object);
      return toTable(kind, [object], { ...view, listMeta: { resourceVersion } });
    }
  }
}

/** A list as the client wants it. */
export function showList(
  kind: Kind,
  items: readonly JsonObject[],
  metadata: JsonObject,
  view: View,
): JsonObject {
  switch (view.form.as) {
    case "Object":
      return {
        kind: kind.listKind,
        apiVersion: groupVersionOf(kind),
        metadata,
        items: items.map((item) => (kind.custom ? item : withoutType(item))),
      };
    case "PartialObjectMetadata":
      return {
        kind: "PartialObjectMetadataList",
        apiVersion: "meta.k8s.io/v1",
        metadata,
        items: items.map(metadataOnly),
      };
    case "Table":
      return toTable(kind, items, { ...view, listMeta: metadata });
  }
}

/** In lists of built-in kinds only the list says what its items are. */
function withoutType({ kind: _, apiVersion: __, ...rest }: JsonObject): JsonObject {
  return rest;
}

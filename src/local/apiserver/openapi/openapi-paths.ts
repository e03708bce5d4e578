import type { JsonObject } from "#base/json.ts";
import type { Kind, Subresource } from "../kinds/kind.ts";
import {
  definitionName,
  gvkOf,
  listDefinitionName,
  PATCH,
  SCALE,
  STATUS,
} from "./openapi-definitions.ts";

/** One operation of the API, from which both versions of OpenAPI are written. */
export interface ApiOperation {
  method: "get" | "post" | "put" | "patch" | "delete";
  /** Kubernetes' own word, `x-kubernetes-action`. */
  action: string;
  operationId: string;
  description: string;
  gvk: JsonObject;
  /** Query parameters by name, with their types. */
  parameters: readonly QueryParameter[];
  /** Definition of the body, by its content types. */
  body: { definition: string; contentTypes: readonly string[] } | undefined;
  /** Definition of the answer; undefined when it is no JSON. */
  response: string | undefined;
}

export interface QueryParameter {
  name: string;
  type: "string" | "boolean" | "integer";
  description: string;
}

const text = (name: string, description: string): QueryParameter => ({
  name,
  type: "string",
  description,
});
const flag = (name: string, description: string): QueryParameter => ({
  name,
  type: "boolean",
  description,
});
const number = (name: string, description: string): QueryParameter => ({
  name,
  type: "integer",
  description,
});

const WRITE: readonly QueryParameter[] = [
  text("dryRun", "All: everything is done but storing the result."),
  text("fieldManager", "Who makes the change, for metadata.managedFields."),
  text("fieldValidation", "What to do with unknown and duplicate fields: Ignore, Warn or Strict."),
];
const APPLY: readonly QueryParameter[] = [
  ...WRITE,
  flag("force", "Takes fields from other managers; only for server-side apply."),
];
const LIST: readonly QueryParameter[] = [
  flag("allowWatchBookmarks", "Asks for events that only carry a resource version."),
  text("continue", "Where an earlier, limited list ended."),
  text("fieldSelector", "Restricts the objects by their fields."),
  text("labelSelector", "Restricts the objects by their labels."),
  number("limit", "How many objects to answer with at most."),
  text("resourceVersion", "How new the answer must be."),
  text("resourceVersionMatch", "How resourceVersion is to be understood."),
  flag("sendInitialEvents", "Begins a watch with the objects that there are."),
  number("timeoutSeconds", "When to end the call."),
  flag("watch", "Answers with changes as they happen."),
];
const DELETE: readonly QueryParameter[] = [
  text("dryRun", "All: everything is done but storing the result."),
  number("gracePeriodSeconds", "How long the object may take to end."),
  text("propagationPolicy", "What happens to dependents: Orphan, Background or Foreground."),
];

const JSON_TYPES = ["application/json", "application/yaml"];
const MERGE_TYPES = [
  "application/apply-patch+yaml",
  "application/json-patch+json",
  "application/merge-patch+json",
];
const PATCH_TYPES = [...MERGE_TYPES, "application/strategic-merge-patch+json"];

/** Every path under which objects of a kind are served, with its operations. */
export function pathsOf(kind: Kind): Map<string, ApiOperation[]> {
  const root = kind.group === "" ? "/api/v1" : `/apis/${kind.group}/${kind.version}`;
  const scope = kind.namespaced ? `${root}/namespaces/{namespace}` : root;
  const collection = `${scope}/${kind.plural}`;
  const paths = new Map<string, ApiOperation[]>();
  paths.set(collection, collectionOperations(kind));
  paths.set(`${collection}/{name}`, itemOperations(kind));
  for (const name of kind.subresources.filter(isDescribed)) {
    paths.set(`${collection}/{name}/${name}`, subresourceOperations(kind, name));
  }
  if (kind.namespaced)
    paths.set(`${root}/${kind.plural}`, [listOperation(kind, "ForAllNamespaces")]);
  return paths;
}

/** The others are for programs that know them; no client reads their description. */
const isDescribed = (name: Subresource): name is DescribedSubresource =>
  name !== "binding" && name !== "finalize" && name !== "token";
type DescribedSubresource = "status" | "scale" | "log" | "exec";

const identifier = (kind: Kind, verb: string, suffix = "") => {
  const words = [...(kind.group === "" ? ["core"] : kind.group.split(".")), kind.version];
  const prefix = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  return `${verb}${prefix}${kind.namespaced && suffix !== "ForAllNamespaces" ? "Namespaced" : ""}${kind.kind}${suffix}`;
};

function listOperation(kind: Kind, suffix = ""): ApiOperation {
  return {
    method: "get",
    action: "list",
    operationId: identifier(kind, "list", suffix),
    description: `list or watch objects of kind ${kind.kind}`,
    gvk: gvkOf(kind, kind.kind),
    parameters: LIST,
    body: undefined,
    response: listDefinitionName(kind),
  };
}

function collectionOperations(kind: Kind): ApiOperation[] {
  const gvk = gvkOf(kind, kind.kind);
  const definition = definitionName(kind);
  return [
    listOperation(kind),
    {
      method: "post",
      action: "post",
      operationId: identifier(kind, "create"),
      description: `create a ${kind.kind}`,
      gvk,
      parameters: WRITE,
      body: { definition, contentTypes: JSON_TYPES },
      response: definition,
    },
    {
      method: "delete",
      action: "deletecollection",
      operationId: identifier(kind, "deleteCollection"),
      description: `delete many objects of kind ${kind.kind}`,
      gvk,
      parameters: [...LIST, ...DELETE],
      body: undefined,
      response: STATUS,
    },
  ];
}

function itemOperations(kind: Kind): ApiOperation[] {
  const { operationsOf } = writers(kind, kind.kind, definitionName(kind), gvkOf(kind, kind.kind));
  return [
    ...operationsOf(""),
    {
      method: "delete",
      action: "delete",
      operationId: identifier(kind, "delete"),
      description: `delete a ${kind.kind}`,
      gvk: gvkOf(kind, kind.kind),
      parameters: DELETE,
      body: undefined,
      response: STATUS,
    },
  ];
}

function subresourceOperations(kind: Kind, name: DescribedSubresource): ApiOperation[] {
  const suffix = name.charAt(0).toUpperCase() + name.slice(1);
  const gvk = gvkOf(kind, kind.kind);
  if (name === "log" || name === "exec") {
    const action = name === "log" ? "get" : "connect";
    return [
      {
        method: "get",
        action,
        operationId: identifier(kind, action, suffix),
        description: `${name} of a ${kind.kind}`,
        gvk: name === "log" ? gvk : gvkOf(kind, "PodExecOptions"),
        parameters: [],
        body: undefined,
        response: undefined,
      },
    ];
  }
  const isScale = name === "scale";
  const { operationsOf } = writers(
    kind,
    `${name} of the ${kind.kind}`,
    isScale ? SCALE : definitionName(kind),
    isScale ? { group: "autoscaling", version: "v1", kind: "Scale" } : gvk,
  );
  return operationsOf(suffix);
}

/** Reading and writing one object, or a part of it. */
function writers(kind: Kind, what: string, definition: string, gvk: JsonObject) {
  const patchTypes = kind.custom ? MERGE_TYPES : PATCH_TYPES;
  const operationsOf = (suffix: string): ApiOperation[] => [
    {
      method: "get",
      action: "get",
      operationId: identifier(kind, "read", suffix),
      description: `read the specified ${what}`,
      gvk,
      parameters: [],
      body: undefined,
      response: definition,
    },
    {
      method: "put",
      action: "put",
      operationId: identifier(kind, "replace", suffix),
      description: `replace the specified ${what}`,
      gvk,
      parameters: WRITE,
      body: { definition, contentTypes: JSON_TYPES },
      response: definition,
    },
    {
      method: "patch",
      action: "patch",
      operationId: identifier(kind, "patch", suffix),
      description: `partially update the specified ${what}`,
      gvk,
      parameters: APPLY,
      body: { definition: PATCH, contentTypes: patchTypes },
      response: definition,
    },
  ];
  return { operationsOf };
}

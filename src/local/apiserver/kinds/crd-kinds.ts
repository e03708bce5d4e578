import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  index,
  invalid,
  invalidText,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { dns1035Label, subdomain } from "../schema/name-rules.ts";
import { validateRootSchema } from "./crd-schema-rules.ts";
import type { Kind, PrinterColumn } from "./kind.ts";

const COLUMN_TYPES = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS = [
  "byte",
  "date",
  "date-time",
  "double",
  "float",
  "int32",
  "int64",
  "password",
];
/** The columns of a version that names none. */
const DEFAULT_COLUMNS: readonly PrinterColumn[] = [
  { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
];

/** The kinds that a CustomResourceDefinition adds, one for each version that it serves. */
export function kindsOfCrd(crd: JsonObject): Kind[] {
  const spec = objectAt(defaultCrd(crd), "spec");
  const names = objectAt(spec, "names");
  return objectsAt(spec, "versions")
    .filter((version) => version["served"] === true)
    .map((version) => ({
      group: stringAt(spec, "group"),
      version: stringAt(version, "name"),
      kind: stringAt(names, "kind"),
      listKind: stringAt(names, "listKind"),
      plural: stringAt(names, "plural"),
      singular: stringAt(names, "singular"),
      shortNames: stringsAt(names, "shortNames"),
      categories: stringsAt(names, "categories"),
      namespaced: spec["scope"] === "Namespaced",
      ...subresourcesOf(version),
      schema: objectAt(objectAt(version, "schema"), "openAPIV3Schema"),
      custom: true,
      ...selectableFieldsOf(version),
      columns: columnsOf(version),
    }));
}

function subresourcesOf(version: JsonObject): Pick<Kind, "subresources" | "scale"> {
  const { status, scale } = objectAt(version, "subresources");
  const subresources: ("status" | "scale")[] = isObject(status) ? ["status"] : [];
  if (!isObject(scale)) return { subresources };
  const labelSelectorPath = scale["labelSelectorPath"];
  return {
    subresources: [...subresources, "scale"],
    scale: {
      specReplicasPath: stringAt(scale, "specReplicasPath"),
      statusReplicasPath: stringAt(scale, "statusReplicasPath"),
      ...(typeof labelSelectorPath === "string" ? { labelSelectorPath } : {}),
    },
  };
}

function selectableFieldsOf(version: JsonObject): Pick<Kind, "selectableFields"> {
  const paths = objectsAt(version, "selectableFields").map((field) => stringAt(field, "jsonPath"));
  return paths.length === 0 ? {} : { selectableFields: paths };
}

function columnsOf(version: JsonObject): readonly PrinterColumn[] {
  const columns = objectsAt(version, "additionalPrinterColumns");
  if (columns.length === 0) return DEFAULT_COLUMNS;
  return columns.map((column) => ({
    name: stringAt(column, "name"),
    type: stringAt(column, "type"),
    jsonPath: stringAt(column, "jsonPath"),
    ...(typeof column["description"] === "string" ? { description: column["description"] } : {}),
    ...(typeof column["format"] === "string" ? { format: column["format"] } : {}),
    ...(typeof column["priority"] === "number" ? { priority: column["priority"] } : {}),
  }));
}

/** A CRD with what the API server fills in: names that follow from the kind, no conversion. */
export function defaultCrd(crd: JsonObject): JsonObject {
  const spec = objectAt(crd, "spec");
  const names = objectAt(spec, "names");
  const kind = stringAt(names, "kind");
  const derived = kind === "" ? {} : { singular: kind.toLowerCase(), listKind: `${kind}List` };
  return {
    ...crd,
    spec: {
      ...spec,
      names: { ...derived, ...names },
      conversion: spec["conversion"] ?? { strategy: "None" },
    },
  };
}

/**
 * The status of a CRD that is accepted and served from now on.
 * @param now RFC 3339
 */
export function establishedStatus(crd: JsonObject, now: string): JsonObject {
  const spec = objectAt(defaultCrd(crd), "spec");
  const status = objectAt(crd, "status");
  const storage = objectsAt(spec, "versions").find((version) => version["storage"] === true);
  const stored = new Set([...stringsAt(status, "storedVersions"), stringAt(storage ?? {}, "name")]);
  const condition = (type: string, reason: string, message: string): JsonObject => {
    const known = objectsAt(status, "conditions").find(
      (candidate) => candidate["type"] === type && candidate["status"] === "True",
    );
    return known ?? { type, status: "True", lastTransitionTime: now, reason, message };
  };
  return {
    ...status,
    conditions: [
      condition("NamesAccepted", "NoConflicts", "no conflicts found"),
      condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ],
    acceptedNames: objectAt(spec, "names"),
    storedVersions: [...stored].filter((name) => name !== ""),
  };
}

/** What is wrong with a CustomResourceDefinition beyond its own schema, in the API server's words. */
export function validateCrd(crd: JsonObject): FieldError[] {
  const completed = defaultCrd(crd);
  const spec = objectAt(completed, "spec");
  const versions = objectsAt(spec, "versions");
  const errors: FieldError[] = [
    ...identityErrors(completed, spec),
    ...nameErrors(objectAt(spec, "names")),
    ...versionErrors(versions),
  ];
  if (spec["preserveUnknownFields"] === true) {
    const text =
      "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    errors.push(invalid("spec.preserveUnknownFields", true, text));
  }
  if (versions.length > 0 && !versions.some((version) => version["storage"] === true)) {
    errors.push(invalid("status.storedVersions", null, "must have at least one stored version"));
  }
  if (objectAt(spec, "conversion")["strategy"] === "Webhook") {
    // Conversion webhooks exist only in the real thing.
    errors.push(notSupported("spec.conversion.strategy", "Webhook", ["None"]));
  }
  for (const [position, version] of versions.entries()) {
    errors.push(...oneVersionErrors(version, versions.length === 1 ? undefined : position));
  }
  return errors;
}

function identityErrors(crd: JsonObject, spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const name = stringAt(objectAt(crd, "metadata"), "name");
  const group = stringAt(spec, "group");
  if (name !== `${stringAt(objectAt(spec, "names"), "plural")}.${group}`) {
    errors.push(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'));
  }
  if (group === "") errors.push(required("spec.group"));
  else if (!group.includes(".") && subdomain(group).length === 0) {
    errors.push(invalid("spec.group", group, "should be a domain with at least one dot"));
  } else errors.push(...subdomain(group).map((text) => invalid("spec.group", group, text)));
  const { scope } = spec;
  if (scope === undefined || scope === "") errors.push(required("spec.scope"));
  else if (scope !== "Cluster" && scope !== "Namespaced") {
    errors.push(notSupported("spec.scope", scope, ["Cluster", "Namespaced"]));
  }
  return errors;
}

function nameErrors(names: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const path = "spec.names";
  for (const name of ["plural", "singular", "kind", "listKind"]) {
    const value = stringAt(names, name);
    if (value === "") {
      errors.push(required(child(path, name)));
      continue;
    }
    const mayBeMixed = name === "kind" || name === "listKind";
    const wrong = dns1035Label(mayBeMixed ? value.toLowerCase() : value);
    if (wrong.length === 0) continue;
    const text = mayBeMixed
      ? `may have mixed case, but should otherwise match: ${wrong.join(",")}`
      : wrong.join(",");
    errors.push(invalid(child(path, name), value, text));
  }
  for (const name of ["shortNames", "categories"]) {
    for (const [position, value] of stringsAt(names, name).entries()) {
      const field = index(child(path, name), position);
      errors.push(...dns1035Label(value).map((text) => invalid(field, value, text)));
    }
  }
  if (names["kind"] !== undefined && names["kind"] === names["listKind"]) {
    const field = child(path, "listKind");
    errors.push(invalid(field, names["listKind"] ?? "", "kind and listKind may not be the same"));
  }
  return errors;
}

/** A version as Go prints it. */
function goVersion(version: JsonObject): string {
  return JSON.stringify({
    Name: stringAt(version, "name"),
    Served: version["served"] === true,
    Storage: version["storage"] === true,
    Deprecated: version["deprecated"] === true,
    DeprecationWarning: version["deprecationWarning"] ?? null,
    Schema: null,
    Subresources: null,
    AdditionalPrinterColumns: null,
    SelectableFields: version["selectableFields"] ?? null,
  });
}

function versionErrors(versions: readonly JsonObject[]): FieldError[] {
  const errors: FieldError[] = [];
  const shown: Json = versions.map((version) => stringAt(version, "name"));
  const storage = versions.filter((version) => version["storage"] === true);
  if (storage.length !== 1) {
    const text = "must have exactly one version marked as storage version";
    // Of an only version the API shows what is left after its schema went to the whole CRD's.
    const [only] = versions;
    errors.push(
      versions.length === 1 && only !== undefined
        ? invalidText("spec.versions", `[${goVersion(only)}]`, text)
        : invalid("spec.versions", shown, text),
    );
  }
  if (new Set(shown).size < versions.length) {
    errors.push(invalid("spec.versions", shown, "must contain unique version names"));
  }
  for (const [position, version] of versions.entries()) {
    const name = stringAt(version, "name");
    const field = child(index("spec.versions", position), "name");
    errors.push(...dns1035Label(name).map((text) => invalid(field, name, text)));
  }
  return errors;
}

/** `position` is undefined for an only version, whose fields go by the names of the whole CRD. */
function oneVersionErrors(version: JsonObject, position: number | undefined): FieldError[] {
  const path = position === undefined ? "spec" : index("spec.versions", position);
  const errors: FieldError[] = [];
  const schema = objectAt(version, "schema")["openAPIV3Schema"];
  if (isObject(schema)) {
    const field = position === undefined ? "validation" : "schema";
    errors.push(...validateRootSchema(schema, child(child(path, field), "openAPIV3Schema")));
  } else {
    errors.push(required(`${index("spec.versions", position ?? 0)}.schema.openAPIV3Schema`));
  }
  for (const [place, column] of objectsAt(version, "additionalPrinterColumns").entries()) {
    const field = index(child(path, "additionalPrinterColumns"), place);
    errors.push(...columnErrors(column, field));
  }
  const { scale } = objectAt(version, "subresources");
  if (isObject(scale)) errors.push(...scaleErrors(scale, child(path, "subresources.scale")));
  return errors;
}

function columnErrors(column: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const jsonPath = stringAt(column, "jsonPath");
  const { name, type, format } = column;
  if ((name ?? "") === "") errors.push(required(child(path, "name")));
  if ((type ?? "") === "") {
    errors.push(required(child(path, "type"), `must be one of ${COLUMN_TYPES.join(",")}`));
  } else if (!(typeof type === "string" && COLUMN_TYPES.includes(type))) {
    const text = `must be one of ${COLUMN_TYPES.join(",")}`;
    errors.push(invalid(child(path, "type"), type ?? "", text));
  }
  if (format !== undefined && !(typeof format === "string" && COLUMN_FORMATS.includes(format))) {
    const text = `must be one of ${COLUMN_FORMATS.join(",")}`;
    errors.push(invalid(child(path, "format"), format, text));
  }
  if (jsonPath === "") errors.push(required(child(path, "JSONPath")));
  else if (!jsonPath.startsWith(".")) {
    const text = "must be a simple json path starting with .";
    errors.push(invalid(child(path, "JSONPath"), jsonPath, text));
  }
  return errors;
}

function scaleErrors(scale: JsonObject, path: string): FieldError[] {
  const places: [string, string][] = [
    ["specReplicasPath", ".spec"],
    ["statusReplicasPath", ".status"],
  ];
  return places.flatMap(([name, parent]) => {
    const value = stringAt(scale, name);
    if (value === "") return [required(child(path, name))];
    if (value.startsWith(`${parent}.`)) return [];
    return [invalid(child(path, name), value, `should be a json path under ${parent}`)];
  });
}

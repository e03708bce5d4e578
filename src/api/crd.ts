/** The CustomResourceDefinition, derived from the schema in `model-adapter.ts`. */
import { z } from "zod";
import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { modelAdapterSpec, modelAdapterStatus } from "./model-adapter.ts";
import { API_VERSION, GROUP, KIND, PLURAL, VERSION } from "./names.ts";

/** Adapter names become Service names: RFC 1035 labels. */
const NAME_RULE = {
  rule: "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
  message:
    "metadata.name becomes the name of a Service: at most 63 lower-case letters, digits and '-', beginning with a letter and ending with a letter or digit",
};

const PRINTER_COLUMNS = [
  { name: "Phase", type: "string", jsonPath: ".status.phase" },
  { name: "Desired", type: "integer", jsonPath: ".status.desiredReplicas" },
  { name: "Ready", type: "integer", jsonPath: ".status.readyReplicas" },
  { name: "Candidates", type: "integer", jsonPath: ".status.candidates" },
  { name: "Model Path", type: "string", jsonPath: ".spec.artifactURL" },
  { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
  { name: "Instances", type: "string", jsonPath: ".status.instances", priority: 1 },
  { name: "Reason", type: "string", jsonPath: ".status.summary", priority: 1 },
  { name: "Base Model", type: "string", jsonPath: ".spec.baseModel", priority: 1 },
];

/** The CRD as an object ready to be written as YAML or sent to an API server. */
export function modelAdapterCrd(): JsonObject {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${PLURAL}.${GROUP}` },
    spec: {
      group: GROUP,
      names: { kind: KIND, listKind: `${KIND}List`, plural: PLURAL, singular: "modeladapter" },
      scope: "Namespaced",
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          additionalPrinterColumns: PRINTER_COLUMNS,
          subresources: { status: {} },
          schema: { openAPIV3Schema: modelAdapterSchema() },
        },
      ],
    },
  };
}

/** The structural schema of a whole ModelAdapter. */
export function modelAdapterSchema(): JsonObject {
  return {
    type: "object",
    description: `A LoRA adapter that is kept loaded on the inference pods of its base model and is callable by its name. ${API_VERSION}.`,
    required: ["spec"],
    "x-kubernetes-validations": [NAME_RULE],
    properties: {
      apiVersion: {
        type: "string",
        description: `The version of this object's schema: ${API_VERSION}.`,
      },
      kind: { type: "string", description: `The kind of this object: ${KIND}.` },
      metadata: { type: "object" },
      spec: structural(modelAdapterSpec),
      status: structural(modelAdapterStatus),
    },
  };
}

function structural(schema: z.ZodType): JsonObject {
  const json = z.toJSONSchema(schema, { target: "openapi-3.0", io: "input" });
  const result = toStructural(json as unknown as Json);
  if (!isObject(result)) throw new Error("bug: a schema is not an object");
  return result;
}

/** zod's OpenAPI 3.0 output, reduced to what Kubernetes' structural schemas allow. */
function toStructural(value: Json): Json {
  if (Array.isArray(value)) return value.map(toStructural);
  if (!isObject(value)) return value;
  const result: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    // Unknown fields are pruned by the server; additionalProperties: false is forbidden there.
    if (key === "$schema" || key === "propertyNames") continue;
    if (key === "additionalProperties" && item === false) continue;
    // Safe-integer bounds that zod adds by itself say nothing that int32/int64 does not.
    if (key === "maximum" && item === Number.MAX_SAFE_INTEGER) continue;
    if (key === "minimum" && item === Number.MIN_SAFE_INTEGER) continue;
    result[key] = toStructural(item);
  }
  return result;
}

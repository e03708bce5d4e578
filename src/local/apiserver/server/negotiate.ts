import { ApiError } from "../registry/api-error.ts";

/** The form in which a client wants its answer. */
export interface AnswerForm {
  readonly as: "Object" | "Table" | "PartialObjectMetadata";
  readonly isYaml: boolean;
}

const META = "meta.k8s.io";
const AS: Record<string, AnswerForm["as"]> = {
  Table: "Table",
  PartialObjectMetadata: "PartialObjectMetadata",
  PartialObjectMetadataList: "PartialObjectMetadata",
};

/** One entry of an Accept header: its media type and parameters, in lower case but for values. */
function entriesOf(accept: string): { type: string; parameters: Map<string, string> }[] {
  return accept.split(",").map((entry) => {
    const [type = "", ...rest] = entry.split(";").map((part) => part.trim());
    const parameters = rest.map((part): [string, string] => {
      const [name = "", value = ""] = part.split("=");
      return [name.toLowerCase(), value];
    });
    return { type: type.toLowerCase(), parameters: new Map(parameters) };
  });
}

/**
 * The first form of an Accept header that we can give.
 * @throws ApiError (406) when there is none.
 */
export function answerForm(accept: string | undefined): AnswerForm {
  for (const { type, parameters } of entriesOf(accept || "*/*")) {
    const isYaml = type === "application/yaml";
    const isJson = ["application/json", "application/*", "*/*"].includes(type);
    if (!isYaml && !isJson) continue;
    const as = parameters.get("as");
    if (as === undefined) return { as: "Object", isYaml };
    const form = AS[as];
    if (form !== undefined && parameters.get("g") === META) return { as: form, isYaml };
  }
  throw new ApiError(
    406,
    "NotAcceptable",
    "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/json;stream=watch",
    {},
  );
}

/** The version in which a client wants all of discovery at once; undefined when it asks group by group. */
export function aggregatedForm(accept: string | undefined): "v2" | "v2beta1" | undefined {
  for (const { type, parameters } of entriesOf(accept ?? "")) {
    if (type !== "application/json") continue;
    if (parameters.get("as") !== "APIGroupDiscoveryList") return undefined;
    const version = parameters.get("v");
    if (version === "v2" || version === "v2beta1") return version;
  }
  return undefined;
}

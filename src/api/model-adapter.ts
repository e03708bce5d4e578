/**
 * What a ModelAdapter is. This file is the only place where its fields are written down: the
 * types, the CRD (`crd.ts`), admission, the local API's validation and the reference page
 * all come from it. AIBrix's fields keep their names and meaning; ours are optional additions.
 */
import { z } from "zod";
import { ARTIFACT_URL_LENGTH_MAX } from "./artifact-url.ts";
import type { KubeList, ObjectMeta } from "./kubernetes.ts";

const LABEL_LENGTH_MAX = 63;
const QUALIFIED_NAME_LENGTH_MAX = 317;
const OBJECT_NAME_LENGTH_MAX = 253;
export const MESSAGE_LENGTH_MAX = 32_768;
/** A line of a wide terminal or two. */
export const SUMMARY_LENGTH_MAX = 256;
/** Pods of one adapter that its status lists; enough for any fleet that one base model runs on. */
export const INSTANCES_MAX = 1000;

/** A CEL rule of the CRD, evaluated by the API server. */
interface CelRule {
  rule: string;
  message: string;
  fieldPath?: string;
  reason?: string;
}
const cel = (...rules: CelRule[]) => ({ "x-kubernetes-validations": rules });

const labelSelector = z
  .object({
    matchLabels: z
      .record(z.string().max(QUALIFIED_NAME_LENGTH_MAX), z.string().max(LABEL_LENGTH_MAX))
      .meta({ maxProperties: 64 })
      .optional()
      .describe("Labels that a pod must carry, all of them, with these values."),
    matchExpressions: z
      .array(
        z.object({
          key: z
            .string()
            .max(QUALIFIED_NAME_LENGTH_MAX)
            .describe("The label key that the requirement is about."),
          operator: z
            .enum(["In", "NotIn", "Exists", "DoesNotExist"])
            .describe("How the label relates to the values."),
          values: z
            .array(z.string().max(LABEL_LENGTH_MAX))
            .max(256)
            .meta({ "x-kubernetes-list-type": "atomic" })
            .optional()
            .describe("Values for In and NotIn; must be absent for Exists and DoesNotExist."),
        }),
      )
      .max(64)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe("Further requirements on a pod's labels, all of which must hold."),
  })
  .meta({ "x-kubernetes-map-type": "atomic" });

export const modelAdapterSpec = z
  .object({
    baseModel: z
      .string()
      .max(OBJECT_NAME_LENGTH_MAX)
      .optional()
      .describe(
        "Name of the base model that the adapter extends. A pod whose label model.aibrix.ai/name differs is reported in status.",
      ),
    podSelector: labelSelector.describe(
      "Which pods can host the adapter. They must also carry adapter.model.aibrix.ai/enabled=true.",
    ),
    schedulerName: z
      .enum(["default", "least-adapters"])
      .default("default")
      .describe(
        "Which scheduler chooses among the pods: default (even and stable) or least-adapters (the pod with the fewest adapters).",
      ),
    artifactURL: z
      .string()
      .min(1)
      .max(ARTIFACT_URL_LENGTH_MAX)
      .meta(
        cel({
          rule: "self.startsWith('/') || self.matches('^(huggingface|hf|s3|gs|gcs|tos|https?)://.+')",
          message:
            "must begin with huggingface://, hf://, s3://, gs://, gcs://, tos://, http://, https:// or be an absolute path",
        }),
      )
      .describe(
        "Where the adapter's files are: huggingface://org/repo, s3://bucket/path, gs://bucket/path, tos://bucket/path, an http(s) URL, or an absolute path that is mounted in the pods.",
      ),
    credentialsSecretRef: z
      .object({
        name: z
          .string()
          .max(OBJECT_NAME_LENGTH_MAX)
          .default("")
          .describe("Name of the Secret, in the adapter's namespace."),
      })
      .meta({ "x-kubernetes-map-type": "atomic" })
      .optional()
      .describe("Secret with the credentials that the artifact's store asks for."),
    apiKeySecretRef: z
      .object({
        name: z.string().min(1).max(OBJECT_NAME_LENGTH_MAX).describe("Name of the Secret."),
        key: z.string().min(1).max(OBJECT_NAME_LENGTH_MAX).describe("Key inside the Secret."),
      })
      .meta({ "x-kubernetes-map-type": "atomic" })
      .optional()
      .describe(
        "Secret key with the inference engine's API key; takes precedence over additionalConfig.api-key.",
      ),
    replicas: z
      .literal(1)
      .meta({ type: "integer", format: "int32" })
      .optional()
      .describe(
        "Absent: the adapter is loaded on every matching pod. 1: on one pod, chosen by the scheduler.",
      ),
    additionalConfig: z
      .record(z.string().max(OBJECT_NAME_LENGTH_MAX), z.string().max(MESSAGE_LENGTH_MAX))
      .meta({ maxProperties: 64 })
      .optional()
      .describe("Further settings. api-key is the API key of the inference engine."),
  })
  .describe("What is wanted: which adapter, from where, on which pods.");

const condition = z.object({
  type: z.string().max(316).describe("Initialized, Scheduled, Loaded, Bound or Ready."),
  status: z.enum(["True", "False", "Unknown"]).describe("Whether the condition holds."),
  observedGeneration: z
    .int()
    .min(0)
    .meta({ format: "int64" })
    .optional()
    .describe("The metadata.generation that the condition was set for."),
  lastTransitionTime: z
    .string()
    .meta({ format: "date-time" })
    .describe("When the status last changed."),
  reason: z.string().min(1).max(1024).describe("One CamelCase word for the status."),
  message: z.string().max(MESSAGE_LENGTH_MAX).describe("The details, for a person."),
});

const podStatus = z.object({
  name: z.string().max(OBJECT_NAME_LENGTH_MAX).describe("The pod's name."),
  state: z
    .enum(["Waiting", "Loading", "Loaded", "Retrying", "Failed", "Unavailable", "Unloading"])
    .describe(
      "Where the adapter stands on this pod. Any state but Waiting means that the pod's engine may hold it.",
    ),
  reason: z.string().max(1024).optional().describe("One CamelCase word for what holds it up."),
  message: z
    .string()
    .max(MESSAGE_LENGTH_MAX)
    .optional()
    .describe("What holds it up, and the cure."),
  artifactURL: z
    .string()
    .max(ARTIFACT_URL_LENGTH_MAX)
    .optional()
    .describe("The artifact that the pod's engine holds, without credentials."),
  path: z
    .string()
    .max(ARTIFACT_URL_LENGTH_MAX)
    .optional()
    .describe("The path or hub id from which the pod's engine has it."),
  version: z
    .string()
    .max(LABEL_LENGTH_MAX)
    .optional()
    .describe(
      "Names the state of the spec that was loaded: pods with the same version hold the same.",
    ),
  retries: z
    .int()
    .min(0)
    .meta({ format: "int32" })
    .optional()
    .describe("Retries made so far, at most 5."),
  nextRetryTime: z
    .string()
    .meta({ format: "date-time" })
    .optional()
    .describe("When the next attempt is due."),
});

const count = (text: string) => z.int().min(0).meta({ format: "int32" }).optional().describe(text);

export const PHASES = ["Pending", "Scheduled", "Loading", "Bound", "Running", "Failed"] as const;

export const modelAdapterStatus = z
  .object({
    phase: z.enum(PHASES).optional().describe("How far the adapter has come."),
    observedGeneration: z
      .int()
      .min(0)
      .meta({ format: "int64" })
      .optional()
      .describe("The metadata.generation that this status is about."),
    candidates: count("Pods that match, are enabled for adapters and are ready."),
    desiredReplicas: count("Pods on which the adapter should be loaded."),
    readyReplicas: count("Pods on which the adapter is loaded and serving."),
    conditions: z
      .array(condition)
      .max(16)
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] })
      .optional()
      .describe("What is known about the adapter, one fact each."),
    instances: z
      .array(z.string().max(OBJECT_NAME_LENGTH_MAX))
      .max(INSTANCES_MAX)
      .meta({ "x-kubernetes-list-type": "atomic" })
      .optional()
      .describe("Names of the pods that serve the adapter now."),
    pods: z
      .array(podStatus)
      .max(INSTANCES_MAX)
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] })
      .optional()
      .describe(
        "Each chosen or waiting pod, with the reason while the adapter does not serve there.",
      ),
    summary: z
      .string()
      .max(SUMMARY_LENGTH_MAX)
      .optional()
      .describe(
        "The reason, and while a pod does not serve what it lacks and the cure, in one line: the column Reason of kubectl get -o wide.",
      ),
  })
  .describe("What is: maintained by the controller.");

export type ModelAdapterSpec = z.infer<typeof modelAdapterSpec>;
export type ModelAdapterStatus = z.infer<typeof modelAdapterStatus>;
export type ModelAdapterPodStatus = z.infer<typeof podStatus>;
export type Phase = (typeof PHASES)[number];
export type SchedulerName = ModelAdapterSpec["schedulerName"];

/** A text that fits into a field of the status. */
export const shortened = (text: string, lengthMax: number): string =>
  text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 1)}…`;

/** A ModelAdapter as the API serves it: defaults are filled in. */
export interface ModelAdapter {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  spec: ModelAdapterSpec;
  status?: ModelAdapterStatus;
}
export type ModelAdapterList = KubeList<ModelAdapter>;

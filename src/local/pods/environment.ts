import type { ConfigMap, Container, EnvVar, Pod, Secret } from "#api/kubernetes.ts";
import { UserError } from "#base/errors.ts";
import { quantityNanos } from "../apiserver/schema/quantity.ts";
import { expandReferences, type MountedFolder, substitute } from "./substitute.ts";

/** What a container's environment is made from. */
export interface EnvironmentContext {
  readonly pod: Pod;
  readonly podAddress: string;
  readonly hostAddress: string;
  readonly nodeName: string;
  readonly mounts: readonly MountedFolder[];
  /** What every container gets from us; the container's own `env` wins. */
  readonly provided: Readonly<Record<string, string>>;
  /** Stands for limits that the container does not set, as Kubernetes' node allocatable does. */
  readonly allocatable: Readonly<Record<string, string>>;
  readonly secret: (name: string) => Secret | undefined;
  readonly configMap: (name: string) => ConfigMap | undefined;
}

const ONE_NANOS = 1_000_000_000n;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

const decodeBase64 = (text: string) => Buffer.from(text, "base64").toString("utf8");

function secretOrFail(context: EnvironmentContext, name: string, optional: boolean | undefined) {
  const secret = context.secret(name);
  if (secret === undefined && optional !== true) throw new UserError(`secret "${name}" not found`);
  return secret;
}

function configMapOrFail(context: EnvironmentContext, name: string, optional: boolean | undefined) {
  const configMap = context.configMap(name);
  if (configMap === undefined && optional !== true) {
    throw new UserError(`configmap "${name}" not found`);
  }
  return configMap;
}

/** The value of a downward API field; throws a `UserError` for a path that Kubernetes does not know. */
export function fieldValue(context: EnvironmentContext, fieldPath: string): string {
  const { metadata, spec } = context.pod;
  const keyed = /^metadata\.(labels|annotations)\['([^']*)'\]$/.exec(fieldPath);
  if (keyed?.[1] !== undefined && keyed[2] !== undefined) {
    const map = keyed[1] === "labels" ? metadata.labels : metadata.annotations;
    return map?.[keyed[2]] ?? "";
  }
  switch (fieldPath) {
    case "metadata.name":
      return metadata.name;
    case "metadata.namespace":
      return metadata.namespace ?? "";
    case "metadata.uid":
      return metadata.uid ?? "";
    case "spec.nodeName":
      return context.nodeName;
    case "spec.serviceAccountName":
      return spec.serviceAccountName ?? "default";
    case "status.podIP":
    case "status.podIPs":
      return context.podAddress;
    case "status.hostIP":
    case "status.hostIPs":
      return context.hostAddress;
    default:
      throw new UserError(`unsupported fieldPath: ${fieldPath}`);
  }
}

function resourceValue(
  context: EnvironmentContext,
  container: Container,
  ref: { resource: string; containerName?: string; divisor?: string },
): string {
  const named = ref.containerName ?? container.name;
  const target = context.pod.spec.containers.find((other) => other.name === named) ?? container;
  const match = /^(limits|requests)\.(.+)$/.exec(ref.resource);
  if (match?.[2] === undefined) throw new UserError(`unsupported resource: ${ref.resource}`);
  const set = match[1] === "limits" ? target.resources?.limits : target.resources?.requests;
  const fallback = match[1] === "limits" ? context.allocatable[match[2]] : undefined;
  const value = quantityNanos(set?.[match[2]] ?? fallback ?? "0") ?? 0n;
  const divisor = quantityNanos(ref.divisor ?? "1") || ONE_NANOS;
  return String((value + divisor - 1n) / divisor);
}

function valueFrom(
  context: EnvironmentContext,
  container: Container,
  source: NonNullable<EnvVar["valueFrom"]>,
): { text: string; exact: boolean } | undefined {
  const { namespace } = context.pod.metadata;
  if (source.fieldRef !== undefined) {
    return { text: fieldValue(context, source.fieldRef.fieldPath), exact: true };
  }
  if (source.resourceFieldRef !== undefined) {
    return { text: resourceValue(context, container, source.resourceFieldRef), exact: true };
  }
  if (source.secretKeyRef !== undefined) {
    const { name, key, optional } = source.secretKeyRef;
    const encoded = secretOrFail(context, name, optional)?.data?.[key];
    if (encoded !== undefined) return { text: decodeBase64(encoded), exact: true };
    if (optional === true) return undefined;
    throw new UserError(`couldn't find key ${key} in Secret ${namespace}/${name}`);
  }
  if (source.configMapKeyRef !== undefined) {
    const { name, key, optional } = source.configMapKeyRef;
    const text = configMapOrFail(context, name, optional)?.data?.[key];
    if (text !== undefined) return { text, exact: false };
    if (optional === true) return undefined;
    throw new UserError(`couldn't find key ${key} in ConfigMap ${namespace}/${name}`);
  }
  return undefined;
}

/** A container's environment, and the names that it wanted and no process can have. */
export interface Environment {
  readonly values: Record<string, string>;
  readonly skipped: readonly string[];
}

/**
 * Builds a container's environment as Kubernetes does: `envFrom` in order, then `env` in order with
 * `$(NAME)` of what came before, on top of what we provide. Loopback words and mount paths are
 * substituted in literal values and those of ConfigMaps; Secrets are opaque, and the downward API
 * already tells the truth.
 * Throws a `UserError` in Kubernetes' words when a Secret, ConfigMap or key is missing.
 */
export function environmentOf(container: Container, context: EnvironmentContext): Environment {
  const values = new Map(Object.entries(context.provided));
  const skipped: string[] = [];
  const set = (name: string, text: string) => {
    if (ENV_NAME.test(name)) values.set(name, text);
    else skipped.push(name);
  };
  const local = (text: string) =>
    substitute(text, { podAddress: context.podAddress, mounts: context.mounts });

  for (const source of container.envFrom ?? []) {
    const prefix = source.prefix ?? "";
    if (source.configMapRef !== undefined) {
      const { name, optional } = source.configMapRef;
      const data = configMapOrFail(context, name, optional)?.data ?? {};
      for (const [key, text] of Object.entries(data)) set(prefix + key, local(text));
    }
    if (source.secretRef !== undefined) {
      const { name, optional } = source.secretRef;
      const data = secretOrFail(context, name, optional)?.data ?? {};
      for (const [key, text] of Object.entries(data)) set(prefix + key, decodeBase64(text));
    }
  }
  for (const variable of container.env ?? []) {
    if (variable.valueFrom === undefined) {
      set(variable.name, local(expandReferences(variable.value ?? "", values)));
      continue;
    }
    const value = valueFrom(context, container, variable.valueFrom);
    if (value !== undefined) {
      set(variable.name, value.exact ? value.text : local(value.text));
    }
  }
  return { values: Object.fromEntries(values), skipped };
}

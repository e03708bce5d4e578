import type { JsonObject } from "#base/json.ts";

/** A column of `kubectl get`, as a CRD's `additionalPrinterColumns` writes it. */
export interface PrinterColumn {
  name: string;
  type: string;
  jsonPath: string;
  description?: string;
  format?: string;
  /** 0 is always shown; above 0 only with `-o wide`. */
  priority?: number;
}

/** JSON paths of a scale subresource, e.g. `.spec.replicas`. */
export interface ScalePaths {
  specReplicasPath: string;
  statusReplicasPath: string;
  labelSelectorPath?: string;
}

/** What is served under an object, besides the object itself. */
export type Subresource = "status" | "scale" | "log" | "exec" | "binding" | "finalize" | "token";

/** One kind in one version that the API serves: built in, or from a CustomResourceDefinition. */
export interface Kind {
  /** Empty for the core group. */
  group: string;
  version: string;
  kind: string;
  listKind: string;
  plural: string;
  singular: string;
  shortNames: readonly string[];
  categories: readonly string[];
  namespaced: boolean;
  /** Which subresources are served under an object of this kind. */
  subresources: readonly Subresource[];
  /** Where a CRD's scale subresource finds its numbers; built-in kinds have fixed places. */
  scale?: ScalePaths;
  /**
   * OpenAPI v3 structural schema of the whole object, `$ref`s resolved, with Kubernetes' extensions
   * (x-kubernetes-list-type, x-kubernetes-list-map-keys, x-kubernetes-patch-strategy,
   * x-kubernetes-patch-merge-key, x-kubernetes-preserve-unknown-fields, ...).
   */
  schema: JsonObject;
  /** True for kinds from a CRD: pruned and defaulted by their schema, no strategic merge patch. */
  custom: boolean;
  /** Only for kinds from a CRD: paths that field selectors may use, e.g. `.spec.color`. */
  selectableFields?: readonly string[];
  /** Only for kinds from a CRD; built-in kinds have printers of their own. */
  columns: readonly PrinterColumn[];
}

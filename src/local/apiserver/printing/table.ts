import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { objectAt, stringAt } from "../json-access.ts";
import type { Kind, PrinterColumn } from "../kinds/kind.ts";
import { age } from "./human-duration.ts";
import { findJsonPath } from "./json-path.ts";
import { NAME_COLUMN, type Printer } from "./printer.ts";
import { BUILTIN_PRINTERS } from "./printers.ts";

export interface TableOptions {
  nowMs: number;
  /** How much of each object goes into its row. */
  includeObject: "None" | "Metadata" | "Object";
  /** resourceVersion, continue and remainingItemCount of the list. */
  listMeta: JsonObject;
}

/** The meta.k8s.io/v1 Table in which `kubectl get` shows objects of a kind. */
export function toTable(
  kind: Kind,
  objects: readonly JsonObject[],
  options: TableOptions,
): JsonObject {
  const printer = printerOf(kind);
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata: options.listMeta,
    columnDefinitions: printer.columns.map((column) => ({ ...column })),
    rows: objects.map((object) => {
      const conditions = printer.conditions?.(object);
      return {
        cells: printer.cells(object, options.nowMs),
        ...(conditions === undefined ? {} : { conditions }),
        object: rowObject(object, options.includeObject),
      };
    }),
  };
}

function rowObject(object: JsonObject, include: TableOptions["includeObject"]): Json {
  if (include === "None") return null;
  if (include === "Object") return object;
  return {
    kind: "PartialObjectMetadata",
    apiVersion: "meta.k8s.io/v1",
    metadata: object["metadata"] ?? {},
  };
}

const customPrinters = new WeakMap<readonly PrinterColumn[], Printer>();

function printerOf(kind: Kind): Printer {
  const builtin = kind.custom ? undefined : BUILTIN_PRINTERS[kind.plural];
  if (builtin !== undefined) return builtin;
  const known = customPrinters.get(kind.columns);
  if (known !== undefined) return known;
  const printer = customPrinter(kind.columns);
  customPrinters.set(kind.columns, printer);
  return printer;
}

function customPrinter(columns: readonly PrinterColumn[]): Printer {
  return {
    columns: [
      NAME_COLUMN,
      ...columns.map((column) => ({
        name: column.name,
        type: column.type,
        format: column.format ?? "",
        description:
          column.description ??
          `Custom resource definition column (in JSONPath format): ${column.jsonPath}`,
        priority: column.priority ?? 0,
      })),
    ],
    cells: (object, nowMs) => [
      stringAt(objectAt(object, "metadata"), "name"),
      ...columns.map((column) => {
        const [value] = findJsonPath(column.jsonPath, object);
        return cellOf(column.type, value, nowMs);
      }),
    ],
  };
}

/** A value in the form of its column; null, shown as nothing, where it does not fit. */
function cellOf(type: string, value: Json | undefined, nowMs: number): Json {
  if (value === undefined || value === null) return null;
  switch (type) {
    case "integer":
      return typeof value === "number" ? Math.trunc(value) : null;
    case "number":
      return typeof value === "number" ? value : null;
    case "boolean":
      return typeof value === "boolean" ? value : null;
    case "date":
      return dateCell(value, nowMs);
    default:
      return typeof value === "string" ? value : JSON.stringify(sortedKeys(value));
  }
}

function dateCell(value: Json, nowMs: number): Json {
  if (typeof value !== "string") return null;
  const text = age(value, nowMs);
  return text === "<unknown>" && value !== "" ? "<invalid>" : text;
}

function sortedKeys(value: Json): Json {
  if (Array.isArray(value)) return value.map(sortedKeys);
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([name, item]): [string, Json] => [
    name,
    sortedKeys(item),
  ]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

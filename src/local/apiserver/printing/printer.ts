import type { Json, JsonObject } from "#base/json.ts";
import { objectAt, stringAt } from "../json-access.ts";
import { age } from "./human-duration.ts";

/** A column of a Table, as meta.k8s.io/v1 has it. */
export interface Column {
  name: string;
  type: string;
  format: string;
  description: string;
  priority: number;
}

/** How objects of one kind become rows; `cells` are as many as `columns`. */
export interface Printer {
  columns: readonly Column[];
  cells(object: JsonObject, nowMs: number): Json[];
  conditions?(object: JsonObject): Json[] | undefined;
}

interface ColumnOptions {
  type?: string;
  format?: string;
  priority?: number;
}
export const column = (name: string, description: string, options: ColumnOptions = {}): Column => ({
  name,
  type: options.type ?? "string",
  format: options.format ?? "",
  description,
  priority: options.priority ?? 0,
});
export const wide = (name: string, description: string): Column =>
  column(name, description, { priority: 1 });
export const integer = (name: string, description: string): Column =>
  column(name, description, { type: "integer" });

export const NAME_COLUMN = column("Name", "The object's name.", { format: "name" });
export const AGE_COLUMN = column("Age", "Time since the object was created.");

export const nameOf = (object: JsonObject) => stringAt(objectAt(object, "metadata"), "name");
export const ageOf = (object: JsonObject, nowMs: number) =>
  age(objectAt(object, "metadata")["creationTimestamp"], nowMs);
export const NONE = "<none>";

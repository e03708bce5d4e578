/**
 * Writes src/local/apiserver/builtins/go-fields.generated.json: which fields of the built-in kinds Go
 * leaves out when they are empty, which it keeps and which it always writes, read from the struct tags
 * of the Go modules. Needs the Go toolchain. Run after kube-schema.ts: node scripts/kube-go-fields.ts
 */
import { execFileSync } from "node:child_process";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import schema from "../src/local/apiserver/schema/kubernetes-schema.generated.json" with {
  type: "json",
};

const OUTPUT = new URL("../src/local/apiserver/builtins/go-fields.generated.json", import.meta.url);
const VERSION = "v0.34.4";
/** Folders of Go packages by what the names of their OpenAPI definitions begin with. */
const MODULES: [prefix: string, module: string, folder: string][] = [
  ["io.k8s.api.", "k8s.io/api", ""],
  ["io.k8s.apimachinery.", "k8s.io/apimachinery", ""],
  ["io.k8s.apiextensions-apiserver.", "k8s.io/apiextensions-apiserver", ""],
];

interface Field {
  name: string;
  type: string;
  options: string[];
}
interface Property {
  type?: string;
  $ref?: string;
}
const definitions = schema.definitions as unknown as {
  [name: string]: { properties?: { [name: string]: Property } };
};

/** The fields of every struct of a package; those of embedded structs stand among them. */
function structsOf(folder: string): Map<string, Field[]> {
  const text = globSync("types*.go", { cwd: folder })
    .map((file) => readFileSync(join(folder, file), "utf8"))
    .join("\n");
  const bodies = new Map(
    [...text.matchAll(/^type (\w+) struct \{\n([\s\S]*?)^\}/gm)].map(([, name = "", body = ""]) => [
      name,
      body,
    ]),
  );
  const fieldsOf = (name: string): Field[] =>
    [
      ...(bodies.get(name) ?? "").matchAll(/^\t(?:\w+\s+)?([\w.*[\]]+)\s+`[^`]*json:"([^"]*)"/gm),
    ].flatMap(([, type = "", tag = ""]) => {
      const [json = "", ...options] = tag.split(",");
      return json === "" && options.includes("inline")
        ? fieldsOf(type)
        : [{ name: json, type, options }];
    });
  return new Map([...bodies.keys()].map((name) => [name, fieldsOf(name)]));
}

/** What Go writes for a field that is not set, or undefined when it leaves the field out. */
function zeroOf({ type, options }: Field, property: Property): unknown {
  const isLeftOut = options.includes("omitempty");
  if (type.startsWith("*") || options.includes("omitzero")) return isLeftOut ? undefined : null;
  const target = property.$ref;
  if (target !== undefined) {
    if (target.endsWith(".Quantity")) return "0";
    if (target.endsWith(".IntOrString")) return 0;
    // Structs that write themselves, such as Time, are never empty in Go's eyes.
    return definitions[target]?.properties === undefined ? null : {};
  }
  if (isLeftOut) return undefined;
  const zeros: { [type: string]: unknown } = { string: "", integer: 0, number: 0, boolean: false };
  // Times and bytes are texts in JSON only.
  const isText = property.type === "string" && !/Time$|^\[\]byte$/.test(type);
  return property.type === "string" && !isText ? null : (zeros[property.type ?? ""] ?? null);
}

const folders = new Map<string, Map<string, Field[]>>();
function structOf(definition: string): Field[] {
  for (const [prefix, module] of MODULES) {
    if (!definition.startsWith(prefix)) continue;
    const path = definition.slice(prefix.length).split(".");
    const name = path.pop() ?? "";
    const key = `${module}/${path.join("/")}`;
    let structs = folders.get(key);
    if (structs === undefined) {
      const found = execFileSync("go", ["mod", "download", "-json", `${module}@${VERSION}`], {
        encoding: "utf8",
      });
      structs = structsOf(join((JSON.parse(found) as { Dir: string }).Dir, ...path));
      folders.set(key, structs);
    }
    return structs.get(name) ?? [];
  }
  throw new Error(`no module for ${definition}`);
}

const lines: string[] = [];
for (const [name, { properties = {} }] of Object.entries(definitions)) {
  const fields = new Map(structOf(name).map((field) => [field.name, field]));
  const keep: string[] = [];
  const always: { [name: string]: unknown } = {};
  for (const [property, type] of Object.entries(properties)) {
    const field = fields.get(property);
    if (field === undefined) {
      if (property === "apiVersion" || property === "kind") continue;
      throw new Error(`${name}.${property} is in no struct`);
    }
    const zero = zeroOf(field, type);
    if (zero !== undefined) always[property] = zero;
    else if (field.type.startsWith("*") && type.$ref === undefined) keep.push(property);
  }
  if (keep.length > 0 || Object.keys(always).length > 0) {
    const entry = { ...(keep.length > 0 ? { keep } : {}), always };
    lines.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  }
}
const comment = `Fields that keep an empty value (pointers) and fields that are always written, with what is written when they are empty; taken from the types of k8s.io/api, apimachinery and apiextensions-apiserver ${VERSION} (Copyright The Kubernetes Authors, Apache-2.0) by scripts/kube-go-fields.ts.`;
writeFileSync(
  OUTPUT,
  `{"comment":${JSON.stringify(comment)},\n"definitions":{\n${lines.join(",\n")}\n}}\n`,
);
console.log(`${lines.length} definitions`);

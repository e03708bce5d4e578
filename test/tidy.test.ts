/** The house rules that a linter does not know: who may import whom, and what may not stand in the tree. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");
const FILE_LINES_MAX = 500;

/** From the ground up: a room may import its own kind of row and the rows above it here. */
const GROUND = ["base"];
const LANGUAGE = [...GROUND, "api"];
const EDGES = ["core", "kube", "artifact", "engine", "serve", "telemetry"];
const SERVICES = ["controller", "runtime", "gateway", "webhook", "xds"];
const MAY_IMPORT: Record<string, string[]> = {
  base: [],
  api: GROUND,
  core: LANGUAGE,
  kube: [...LANGUAGE, "telemetry"],
  artifact: [...LANGUAGE, "telemetry"],
  engine: [...LANGUAGE, "telemetry"],
  serve: [...LANGUAGE, "telemetry"],
  telemetry: GROUND,
  ...Object.fromEntries(SERVICES.map((room) => [room, [...LANGUAGE, ...EDGES]])),
  local: [...LANGUAGE, ...EDGES, ...SERVICES],
  cli: [...LANGUAGE, ...EDGES, ...SERVICES, "local"],
  main: [...LANGUAGE, ...EDGES, ...SERVICES, "local", "cli"],
};
const PURE = ["base", "api", "core"];

interface Source {
  path: string;
  room: string;
  text: string;
  imports: string[];
  isTest: boolean;
}

const sources: Source[] = globSync("src/**/*.ts", { cwd: root }).map((path) => {
  const text = readFileSync(join(root, path), "utf8");
  return {
    path,
    room: path.split("/")[1] ?? "",
    text,
    imports: [...text.matchAll(/(?:from|import|new URL)\s*\(?\s*"([^"]+)"/g)].map(
      (match) => match[1] ?? "",
    ),
    isTest: path.endsWith(".test.ts"),
  };
});

/** The room that an import leads to; undefined for packages. */
function roomOf(source: Source, specifier: string): string | undefined {
  if (specifier.startsWith("#")) return specifier.slice(1).split("/")[0];
  if (!specifier.startsWith(".")) return undefined;
  const path = relative(join(root, "src"), resolve(root, dirname(source.path), specifier));
  // Fixtures and the like lie outside.
  return path.startsWith("..") ? undefined : path.split("/")[0];
}

test("rooms import only downwards", () => {
  const wrong = sources
    .filter((source) => !source.isTest)
    .flatMap((source) =>
      source.imports
        .filter((specifier) => {
          const room = roomOf(source, specifier);
          if (room === undefined || room === source.room) return false;
          return !(MAY_IMPORT[source.room] ?? []).includes(room);
        })
        .map((specifier) => `${source.path}: ${specifier}`),
    );
  assert.deepEqual(wrong, []);
});

test("rooms reach one another by #room, and only files that lie directly in a room", () => {
  const wrong = sources.flatMap((source) =>
    source.imports
      .filter((specifier) => {
        const room = roomOf(source, specifier);
        if (room === undefined || room === source.room || room === "test") return false;
        const outside = specifier.startsWith(".");
        // local/ is the composition of everything and has rooms of its own.
        const closet = specifier.split("/").length > 2 && room !== "local" && room !== "core";
        return outside || closet;
      })
      .map((specifier) => `${source.path}: ${specifier}`),
  );
  assert.deepEqual(wrong, []);
});

test("the pure rooms know no Node, clock, chance or network", () => {
  const banned = /\b(Date\.now|new Date\(\)|Math\.random|setTimeout|setInterval|process\.|fetch\()/;
  const wrong = sources
    .filter((source) => PURE.includes(source.room) && !source.isTest)
    .filter((source) => {
      const code = source.text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
      return source.imports.some((name) => name.startsWith("node:")) || banned.test(code);
    })
    .map((source) => source.path);
  assert.deepEqual(wrong, []);
});

test("argv, environment, exit and signals belong to main", () => {
  const banned = /\bprocess\.(env|argv|exit|on\(["'`]SIG)/;
  const wrong = sources
    .filter((source) => source.room !== "main" && !source.isTest && banned.test(source.text))
    .map((source) => source.path);
  assert.deepEqual(wrong, []);
});

test("nothing in src is unreachable: every file is imported or is an entry", () => {
  const imported = new Set(
    [...sources, ...others()].flatMap((source) =>
      source.imports.map((specifier) =>
        specifier.startsWith("#")
          ? join("src", specifier.slice(1))
          : relative(root, resolve(root, dirname(source.path), specifier)),
      ),
    ),
  );
  const dead = sources
    .filter((source) => !source.isTest && source.room !== "main" && !imported.has(source.path))
    .map((source) => source.path);
  assert.deepEqual(dead, []);
});

test("what a file exports is used by another", () => {
  const users = new Map<string, Set<string>>();
  for (const { path, text } of [...sources, ...others()]) {
    for (const word of text.match(/\b[A-Za-z_]\w+\b/g) ?? []) {
      const known = users.get(word) ?? new Set();
      users.set(word, known.add(path));
    }
  }
  const unused = sources.flatMap(({ path, text }) =>
    [...text.matchAll(/^export (?:async )?(?:function|const|class) (\w+)/gm)]
      .map(([, name = ""]) => name)
      .filter((name) => (users.get(name)?.size ?? 0) < 2)
      .map((name) => `${path}: ${name}`),
  );
  assert.deepEqual(unused, []);
});

function others(): Source[] {
  return globSync(["scripts/*.ts", "bench/*.ts", "test/**/*.ts"], { cwd: root }).map((path) => {
    const text = readFileSync(join(root, path), "utf8");
    const imports = [...text.matchAll(/(?:from|import|new URL)\s*\(?\s*"([^"]+)"/g)].map(
      (m) => m[1] ?? "",
    );
    return { path, room: "", text, imports, isTest: false };
  });
}

test("files keep to one thing, and nothing is left half-done", () => {
  const wrong: string[] = [];
  for (const { path, text, isTest } of sources) {
    const lines = text.split("\n").length;
    if (!isTest && lines > FILE_LINES_MAX) wrong.push(`${path}: ${lines} lines`);
    if (/\b(TODO|FIXME|XXX|HACK)\b/.test(text)) wrong.push(`${path}: unfinished`);
    if (/\.(only|skip)\(/.test(text) && isTest) wrong.push(`${path}: only or skip`);
  }
  assert.deepEqual(wrong, []);
});

test("each dependency has its line in docs/dependencies.md", () => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const page = readFileSync(join(root, "docs/dependencies.md"), "utf8");
  const names = [manifest.dependencies, manifest.devDependencies, manifest.optionalDependencies]
    .flatMap((group) => Object.keys(group ?? {}))
    .filter((name) => !page.includes(`\`${name}\``));
  assert.deepEqual(names, []);
});

test("each page that code or documents point to is there", () => {
  const files = ["src/**/*.ts", "scripts/*.ts", "deploy/**/*.yaml", "docs/**/*.md", "*.md"];
  const missing = globSync(files, { cwd: root }).flatMap((path) => {
    const text = readFileSync(join(root, path), "utf8");
    const pages = [...text.matchAll(/\bdocs\/[\w/-]+\.md\b/g)].map((match) => match[0]);
    return pages.filter((page) => !existsSync(join(root, page))).map((page) => `${path}: ${page}`);
  });
  assert.deepEqual(missing, []);
});

test("each heading that a page points to is there", () => {
  const slug = (heading: string) =>
    heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replaceAll(" ", "-");
  const missing = globSync(["docs/**/*.md", "*.md"], { cwd: root }).flatMap((path) => {
    const text = readFileSync(join(root, path), "utf8");
    return [...text.matchAll(/\]\(([\w./-]*)#([\w-]+)\)/g)]
      .filter(([, page = "", anchor]) => {
        const target = page === "" ? path : join(dirname(path), page);
        const headings = readFileSync(join(root, target), "utf8").matchAll(/^#+ (.+)$/gm);
        return ![...headings].some(([, heading = ""]) => slug(heading) === anchor);
      })
      .map(([link]) => `${path}: ${link}`);
  });
  assert.deepEqual(missing, []);
});

test("the tree names no path of a machine and no registry", () => {
  const files = globSync(
    [
      "src/**/*.ts",
      "scripts/*",
      "docs/**/*.md",
      "*.md",
      "deploy/**/*.yaml",
      "samples/**/*",
      ".ci/*",
    ],
    { cwd: root, exclude: (path) => !path.includes(".") && false },
  ).filter((path) => /\.(ts|mjs|md|yaml|sh)$/.test(path) || path.startsWith(".ci/"));
  const banned = new RegExp(["/ro" + "ot/", "/wo" + "rk/", "registry\\.npm" + "js"].join("|"));
  const wrong = files.filter((path) => banned.test(readFileSync(join(root, path), "utf8")));
  assert.deepEqual(wrong, []);
});

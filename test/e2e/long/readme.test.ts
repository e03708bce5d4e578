/**
 * What our documents tell a reader to type works: each `sh` block is run, each `yaml` block applied, on
 * one machine. A block that cannot be run says why in a comment, and is checked as far as that goes.
 */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { parseManifest } from "#local/up/manifests.ts";
import { LocalMachine, newPlace, placeFlags, ROOT } from "#test/support/local-machine.ts";
import { type Block, blocksOf, parseBlocks } from "#test/support/markdown-blocks.ts";
import { canUse } from "#test/support/programs.ts";

const DOCUMENTS = ["README.md", ...globSync("docs/**/*.md", { cwd: ROOT }).sort()];
/** The line that a reader starts everything with; the test's machine is started by it. */
const START = /^npm start(?: *#.*)?$/;
const ONCE = /^npm start -- --once\b/;
/** Lines that go on until they are interrupted. */
const ENDLESS = /^watch |^kubectl logs .*(?:-f|--follow)\b|^kubectl get .*(?:-w|--watch)\b/;
/** What one line of a reader's shell leaves to the next. */
const VARIABLE = /^(?:export )?[A-Z_]+=/;

let machine: LocalMachine;

/** The default places of the documents are this machine's. */
function here(text: string): string {
  const { stateDir, ports } = machine;
  return text
    .replace(/\.loradock\b/g, stateDir)
    .replace(/\b(127\.0\.0\.1|localhost):8888\b/g, `$1:${ports.gateway}`)
    .replace(/\b(127\.0\.0\.1|localhost):16443\b/g, `$1:${ports.api}`)
    .replace(/\b(127\.0\.0\.1|localhost):16480\b/g, `$1:${ports.hub}`);
}

/** Runs a block as a reader would; `shell` has the variables of the blocks before it. */
async function type(text: string, shell: string[]): Promise<void> {
  let script: string[] = [];
  const flush = async () => {
    if (script.length > 0) await machine.sh(["set -e", ...shell, ...script].join("\n"));
    shell.push(...script.filter((line) => VARIABLE.test(line)));
    script = [];
  };
  for (const line of here(text).split("\n")) {
    // It runs already.
    if (START.test(line)) continue;
    if (ONCE.test(line)) {
      const { stateDir, ports } = await newPlace();
      script.push(
        line.replace(ONCE, (start) => `${start} ${placeFlags(stateDir, ports)}`),
        `rm -r ${stateDir}`,
      );
    } else if (ENDLESS.test(line)) {
      await flush();
      await machine.endless([...shell, line].join("\n"), [/\S/], { env: { TERM: "xterm" } });
    } else script.push(line);
  }
  await flush();
}

const scripts: Record<string, string> = JSON.parse(
  readFileSync(join(ROOT, "package.json"), "utf8"),
).scripts;

/** What can be known of commands without running them. */
async function check(text: string): Promise<void> {
  await machine.sh(`bash -n <<'BLOCK'\n${text}\nBLOCK`);
  for (const [, path = ""] of text.matchAll(
    /(?<=[\s=])((?:\.\/)?(?:bin|deploy|samples|docs)\/\S+)/g,
  )) {
    assert.ok(existsSync(join(ROOT, path)), `${path} is not there`);
  }
  for (const [, script = ""] of text.matchAll(/^npm (?:run )?([a-z0-9:-]+)/gm)) {
    const isOurs = scripts[script] !== undefined;
    assert.ok(isOurs || script === "ci" || script === "install", `npm ${script} is no script`);
  }
  for (const [, command = "", rest = ""] of text.matchAll(/^\S*loradock ([a-z]+)(.*)$/gm)) {
    const { stdout } = await machine.sh(`bin/loradock ${command} --help`);
    for (const [flag] of rest.matchAll(/--[a-z-]+/g)) assert.ok(stdout.includes(flag), flag);
  }
  for (const [applied] of text.matchAll(/^kubectl apply .*$/gm)) {
    await machine.sh(applied.replace("apply", "apply --dry-run=server"));
  }
}

const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "apiVersion" in value && "kind" in value;

async function apply(block: Block): Promise<void> {
  const objects = parseManifest(block.text, block.place);
  // A part of an object shows where a field goes; only its form can be checked.
  if (!objects.every(isObject)) return;
  const dryRun = block.notRun === undefined ? "" : "--dry-run=server";
  await machine.sh(`kubectl apply ${dryRun} -f - <<'BLOCK'\n${block.text}\nBLOCK`);
}

describe("the blocks of a document", () => {
  it("are found with their language and the reason why they are not run", () => {
    const fence = "```";
    const text = [
      ...["a", `${fence}sh`, "one", "two", fence, "", "<!-- not run: too slow -->"],
      ...[`${fence}yaml`, "a: 1", fence, "<!-- not run: void -->", "text", fence, "plain", fence],
      ...["- item", `  ${fence}sh`, "  three", `  ${fence}`],
    ].join("\n");
    assert.deepEqual(
      parseBlocks(text, "x.md").map((block) => [block.place, block.text, block.notRun]),
      [
        ["x.md:2", "one\ntwo", undefined],
        ["x.md:8", "a: 1", "too slow"],
        ["x.md:17", "three", undefined],
      ],
    );
    assert.throws(() => parseBlocks(`${fence}sh`, "x.md"), /x\.md:1 has no end/);
  });
});

if (canUse("kubectl")) {
  describe("our documents on one machine", () => {
    before(async () => {
      const place = await newPlace();
      const flags = placeFlags(place.stateDir, place.ports);
      machine = await LocalMachine.start(`npm start -- ${flags}`, place);
    });
    after(() => machine?.stop());

    for (const file of DOCUMENTS) {
      const shell: string[] = [];
      for (const block of blocksOf(ROOT, file)) {
        if (!["sh", "yaml"].includes(block.language)) continue;
        const how = block.notRun === undefined ? "works" : `is right, not run: ${block.notRun}`;
        it(`${block.place}, ${block.language}, ${how}`, async () => {
          if (block.language === "yaml") await apply(block);
          else if (block.notRun === undefined) await type(block.text, shell);
          else await check(block.text);
        });
      }
    }
  });
}

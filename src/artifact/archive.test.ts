import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { type Member, tarOf, zipOf } from "#test/support/archives.ts";
import { damaged, fuzzRuns } from "#test/support/fuzz.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { unpackArchive } from "./archive.ts";
import { ArtifactError } from "./errors.ts";
import { memberPath } from "./member-path.ts";

const LIMITS = { unpackedBytesMax: 1 << 30, membersMax: 100 };
const never = new AbortController().signal;

async function unpack(t: TestContext, bytes: Uint8Array, limits = LIMITS) {
  const folder = await tempFolder(t);
  const archive = join(folder, "archive");
  const into = join(folder, "into");
  await writeFile(archive, bytes);
  await mkdir(into);
  await unpackArchive(archive, into, limits, never);
  return into;
}

const FORMS: Record<string, (members: Member[]) => Promise<Buffer>> = {
  tar: tarOf,
  "tar.gz": async (members) => gzipSync(await tarOf(members)),
  zip: async (members) => zipOf(members),
};

for (const [form, pack] of Object.entries(FORMS)) {
  test(`${form}: files and folders come out as they went in`, async (t) => {
    const into = await unpack(
      t,
      await pack([
        { name: "./a/", type: "directory" },
        { name: "./a/b.json", content: "{}" },
        { name: "c.bin", content: Buffer.alloc(100_000, 7) },
      ]),
    );
    assert.deepEqual((await readdir(into, { recursive: true })).sort(), ["a", "a/b.json", "c.bin"]);
    assert.equal(await readFile(join(into, "a/b.json"), "utf8"), "{}");
    assert.deepEqual(await readFile(join(into, "c.bin")), Buffer.alloc(100_000, 7));
  });

  const hostile: Record<string, Member[]> = {
    absolute: [{ name: "/etc/evil", content: "x" }],
    climbing: [{ name: "a/../../evil", content: "x" }],
    backslash: [{ name: "..\\evil", content: "x" }],
    drive: [{ name: "C:evil", content: "x" }],
    newline: [{ name: "a\nb", content: "x" }],
    symlink: [{ name: "link", type: "symlink", linkname: "/etc" }],
    "twice, ignoring case": [{ name: "A" }, { name: "a" }],
    "below a file": [{ name: "a", content: "x" }, { name: "a/b" }],
    empty: [],
  };
  for (const [what, members] of Object.entries(hostile)) {
    test(`${form}: refused: ${what}`, async (t) => {
      await assert.rejects(unpack(t, await pack(members)), {
        name: "ArtifactError",
        code: "InvalidArtifact",
      });
    });
  }

  test(`${form}: the number of members is bounded`, async (t) => {
    const members = Array.from({ length: 101 }, (_, i) => ({ name: `f${i}` }));
    await assert.rejects(unpack(t, await pack(members)), /more than 100 members/);
  });

  test(`${form}: damaged anywhere, it ends in a typed error or in the files`, async (t) => {
    const whole = await pack([
      { name: "adapter_config.json", content: '{"r":8}' },
      { name: "x/weights", content: Buffer.alloc(3000, 1) },
    ]);
    const damage = fc.record({
      at: fc.nat(whole.length - 1),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }),
      end: fc.nat(whole.length),
      isCut: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, bytes, end, isCut }) => {
        const damaged = Buffer.from(whole);
        damaged.set(bytes.subarray(0, whole.length - at), at);
        try {
          await unpack(t, isCut ? damaged.subarray(0, end) : damaged);
        } catch (error) {
          assert.ok(error instanceof ArtifactError, String(error));
          assert.equal(error.code, "InvalidArtifact");
        }
      }),
      { numRuns: 60 },
    );
  });
}

test("tar: hard links and devices are refused", async (t) => {
  for (const type of ["link", "character-device", "fifo"] as const) {
    const tar = await tarOf([{ name: "x", type, linkname: "/etc/passwd" }]);
    await assert.rejects(unpack(t, tar), /only files and folders/);
  }
});

test("bombs: what unpacks to far more than its size is refused before it fills the disk", async (t) => {
  const zeros = Buffer.alloc(80 << 20);
  await assert.rejects(unpack(t, zipOf([{ name: "z", content: zeros }])), /unpacks to more than/);
  // Behind the end of the archive, where no member is.
  const padded = gzipSync(Buffer.concat([await tarOf([{ name: "a" }]), zeros]), { level: 1 });
  await assert.rejects(unpack(t, padded, { ...LIMITS, unpackedBytesMax: 1 << 20 }), /more than/);
});

test("a member's path never leaves the folder, whatever its name", () => {
  const part = fc.oneof(
    fc.constantFrom("..", ".", "", "/", "\\", "a", "\0", "C:", "...", "~"),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
      let path: string;
      try {
        path = memberPath(parts.join("/"));
      } catch (error) {
        return error instanceof ArtifactError;
      }
      const inside = join("/srv/adapter", path);
      return inside === "/srv/adapter" || inside.startsWith("/srv/adapter/");
    }),
  );
});

/** Hostile and harmless members, as archives of all forms. */
async function originals(): Promise<Buffer[]> {
  const members: Member[][] = [
    [
      { name: "a/", type: "directory" },
      { name: "a/adapter_config.json", content: "{}" },
    ],
    [{ name: "adapter_model.safetensors", content: Buffer.alloc(3000, 7) }],
    [{ name: "../evil", content: "x" }],
    [
      { name: "link", type: "symlink", linkname: "../outside" },
      { name: "link/evil", content: "x" },
    ],
    [
      { name: "x".repeat(150), content: "long name" },
      { name: "\u00e9", content: "e" },
    ],
  ];
  const forms = Object.values(FORMS);
  return Promise.all(members.flatMap((list) => forms.map((pack) => pack(list))));
}

test("whatever bytes an archive is: refused as invalid, or plain files inside its folder", async (t) => {
  const folder = await tempFolder(t);
  const limits = { unpackedBytesMax: 1 << 20, membersMax: 20 };
  const archive = join(folder, "archive");
  const into = join(folder, "into");
  await fc.assert(
    fc.asyncProperty(damaged(await originals()), async (bytes) => {
      await rm(into, { recursive: true, force: true });
      await mkdir(into);
      await writeFile(archive, bytes);
      try {
        await unpackArchive(archive, into, limits, AbortSignal.timeout(10_000));
      } catch (error) {
        assert.ok(
          error instanceof ArtifactError && error.code === "InvalidArtifact",
          String(error),
        );
      }
      let total = 0;
      for (const entry of await readdir(into, { recursive: true, withFileTypes: true })) {
        assert.ok(entry.isFile() || entry.isDirectory(), entry.name);
        if (entry.isFile()) total += (await stat(join(entry.parentPath, entry.name))).size;
      }
      assert.ok(total <= limits.unpackedBytesMax);
      assert.deepEqual((await readdir(folder)).sort(), ["archive", "into"]);
    }),
    fuzzRuns(200),
  );
});

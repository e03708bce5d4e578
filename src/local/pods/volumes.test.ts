import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { Pod, Volume } from "#api/kubernetes.ts";
import { mountsOf, prepareVolumes, type VolumeSources } from "./volumes.ts";

describe("volumes", () => {
  const root = mkdtempSync(join(tmpdir(), "loradock-volumes-"));
  let pods = 0;
  after(() => rmSync(root, { recursive: true, force: true }));

  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const podWith = (...volumes: Volume[]): Pod => ({
    metadata: { name: "p" },
    spec: { containers: [], volumes },
  });
  const sources = (data: Record<string, string>): VolumeSources => ({
    secret: (name) =>
      name === "s"
        ? {
            metadata: { name },
            data: Object.fromEntries(Object.entries(data).map(([k, v]) => [k, base64(v)])),
          }
        : undefined,
    configMap: (name) => (name === "c" ? { metadata: { name }, data } : undefined),
    claimFolder: (claim) => join(root, "claims", claim),
  });
  const newRoot = () => join(root, String(pods++));
  const seen = (folder: string) => readdirSync(folder).filter((name) => !name.startsWith(".."));

  it("publishes a Secret's keys and changes them in one step", () => {
    const own = newRoot();
    const pod = podWith({ name: "keys", secret: { secretName: "s" } });
    const folder = prepareVolumes(pod, own, sources({ a: "1", b: "2" })).get("keys") ?? "";
    assert.deepEqual(seen(folder).sort(), ["a", "b"]);
    assert.equal(readFileSync(join(folder, "a"), "utf8"), "1");
    const before = readdirSync(folder).sort();
    prepareVolumes(pod, own, sources({ a: "1", b: "2" }));
    assert.deepEqual(readdirSync(folder).sort(), before, "unchanged data changes no file");
    prepareVolumes(pod, own, sources({ a: "new", c: "3" }));
    assert.deepEqual(seen(folder).sort(), ["a", "c"]);
    assert.equal(readFileSync(join(folder, "a"), "utf8"), "new");
    assert.equal(readdirSync(folder).length, 4, "old versions are removed");
  });

  it("puts keys where items say, below the volume only", () => {
    const item = (path: string) =>
      podWith({ name: "v", configMap: { name: "c", items: [{ key: "a", path }] } });
    const folder = prepareVolumes(item("x/y"), newRoot(), sources({ a: "1", b: "2" })).get("v");
    assert.equal(readFileSync(join(folder ?? "", "x/y"), "utf8"), "1");
    for (const path of ["../out", "/etc/out", "x/../../out"]) {
      assert.throws(() => prepareVolumes(item(path), newRoot(), sources({ a: "1" })), /leaves the/);
    }
  });

  it("keeps an emptyDir's files and gives each pod its own", () => {
    const pod = podWith({ name: "scratch", emptyDir: {} });
    const own = newRoot();
    const folder = prepareVolumes(pod, own, sources({})).get("scratch") ?? "";
    writeFileSync(join(folder, "file"), "x");
    prepareVolumes(pod, own, sources({}));
    assert.ok(existsSync(join(folder, "file")));
    assert.notEqual(prepareVolumes(pod, newRoot(), sources({})).get("scratch"), folder);
  });

  it("shares a claim's folder and uses a hostPath as it is", () => {
    const pod = podWith(
      { name: "claim", persistentVolumeClaim: { claimName: "models" } },
      { name: "host", hostPath: { path: join(root, "host") } },
    );
    const folders = prepareVolumes(pod, newRoot(), sources({}));
    assert.equal(folders.get("claim"), join(root, "claims", "models"));
    assert.equal(folders.get("host"), join(root, "host"));
  });

  const missing: [string, Volume, RegExp][] = [
    [
      "Secret",
      { name: "v", secret: { secretName: "no" } },
      /^MountVolume\.SetUp failed for volume "v" : secret "no" not found$/,
    ],
    [
      "ConfigMap",
      { name: "v", configMap: { name: "no" } },
      /^MountVolume\.SetUp failed for volume "v" : configmap "no" not found$/,
    ],
    [
      "key",
      { name: "v", secret: { secretName: "s", items: [{ key: "no", path: "p" }] } },
      /references non-existent key no of secret "s"$/,
    ],
    ["kind of volume", { name: "v" }, /is not available on one machine/],
  ];
  for (const [what, volume, message] of missing) {
    it(`refuses a missing ${what}`, () => {
      assert.throws(() => prepareVolumes(podWith(volume), newRoot(), sources({ a: "1" })), {
        name: "UserError",
        message,
      });
    });
  }

  it("makes an optional volume empty", () => {
    const pod = podWith({ name: "v", secret: { secretName: "no", optional: true } });
    assert.deepEqual(seen(prepareVolumes(pod, newRoot(), sources({})).get("v") ?? ""), []);
  });

  it("resolves mounts with subPath inside the volume", () => {
    const folder = join(root, "sub");
    const mount = (subPath?: string) => ({
      name: "m",
      volumeMounts: [{ name: "v", mountPath: "/data", ...(subPath && { subPath }) }],
    });
    const folders = new Map([["v", folder]]);
    assert.deepEqual(mountsOf(mount(), folders), [{ mountPath: "/data", folder }]);
    assert.deepEqual(mountsOf(mount("a"), folders), [
      { mountPath: "/data", folder: join(folder, "a") },
    ]);
    assert.throws(() => mountsOf(mount("../b"), folders), /leaves the volume/);
    assert.throws(() => mountsOf(mount(), new Map()), /which is no volume/);
  });
});

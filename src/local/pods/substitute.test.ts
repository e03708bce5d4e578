import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { expandReferences, substituteLoopback, substitutePaths } from "./substitute.ts";

const POD = "127.20.3.4";

describe("substituteLoopback", () => {
  const replaced: [string, string][] = [
    ["localhost", POD],
    ["0.0.0.0", POD],
    ["127.0.0.1", POD],
    ["http://localhost:8000/v1", `http://${POD}:8000/v1`],
    ["http://127.0.0.1/8", `http://${POD}/8`],
    ["--host=0.0.0.0", `--host=${POD}`],
    ["0.0.0.0:8080", `${POD}:8080`],
    ["http://user:pass@localhost/x", `http://user:pass@${POD}/x`],
    ['{"host": "0.0.0.0", "peer": "localhost"}', `{"host": "${POD}", "peer": "${POD}"}`],
    [
      "curl -s http://localhost:8000/health && echo ok",
      `curl -s http://${POD}:8000/health && echo ok`,
    ],
    ["localhost,127.0.0.1,.svc", `${POD},${POD},.svc`],
    ["We listen on localhost.", `We listen on ${POD}.`],
    ["tcp:localhost:1", `tcp:${POD}:1`],
  ];
  for (const [from, to] of replaced) {
    it(`replaces in ${from}`, () => assert.equal(substituteLoopback(from, POD), to));
  }
  const kept = [
    "my-localhost",
    "localhost-1",
    "localhosts",
    "localhost_x",
    "localhost.localdomain",
    "db.localhost",
    "10.0.0.0",
    "0.0.0.0.5",
    "127.0.0.10",
    "127.0.0.1/8",
    "0.0.0.0/0",
    "/etc/localhost",
    "http://host/localhost",
    "LOCALHOST",
    "[::1]:80",
  ];
  for (const text of kept) {
    it(`leaves ${text} alone`, () => assert.equal(substituteLoopback(text, POD), text));
  }
});

describe("substitutePaths", () => {
  const mounts = [
    { mountPath: "/data", folder: "/state/v/data" },
    { mountPath: "/data/cache/", folder: "/state/v/cache" },
    { mountPath: "/tmp/aibrix/adapters", folder: "/state/v/adapters" },
  ];
  const cases: [string, string][] = [
    ["/data", "/state/v/data"],
    ["/data/", "/state/v/data/"],
    ["/data/model.bin", "/state/v/data/model.bin"],
    ["/data/cache/x", "/state/v/cache/x"],
    ["--dir=/data --x", "--dir=/state/v/data --x"],
    ["/data:/data/cache", "/state/v/data:/state/v/cache"],
    ["file:///data/x", "file:///state/v/data/x"],
    ["cat '/tmp/aibrix/adapters/a'", "cat '/state/v/adapters/a'"],
    ["/var/data", "/var/data"],
    ["/database", "/database"],
    ["/data-2", "/data-2"],
    ["./data", "./data"],
    ["http://host/data", "http://host/data"],
    ["//data", "//data"],
  ];
  for (const [from, to] of cases) {
    it(`turns ${from} into ${to}`, () => assert.equal(substitutePaths(from, mounts), to));
  }
  it("does not replace inside what it has put in", () => {
    const nested = [
      { mountPath: "/a", folder: "/b/x" },
      { mountPath: "/b", folder: "/c" },
    ];
    assert.equal(substitutePaths("/a/1 /b/2", nested), "/b/x/1 /c/2");
  });
  it("ignores a mount of the root folder", () => {
    assert.equal(substitutePaths("/x", [{ mountPath: "/", folder: "/y" }]), "/x");
  });
});

describe("expandReferences", () => {
  const values = new Map([
    ["A", "1"],
    ["EMPTY", ""],
  ]);
  const cases: [string, string][] = [
    ["$(A)", "1"],
    ["x$(A)y$(A)", "x1y1"],
    ["$(EMPTY)", ""],
    ["$(UNKNOWN)", "$(UNKNOWN)"],
    ["$$(A)", "$(A)"],
    ["$$$(A)", "$1"],
    ["$A $ $(", "$A $ $("],
  ];
  for (const [from, to] of cases) {
    it(`turns ${from} into ${to}`, () => assert.equal(expandReferences(from, values), to));
  }
  it("leaves text without a dollar alone", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const plain = text.replaceAll("$", "");
        assert.equal(expandReferences(plain, values), plain);
      }),
    );
  });
});

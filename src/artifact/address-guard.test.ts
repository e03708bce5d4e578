import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { guardedLookup, isForbiddenAddress } from "./address-guard.ts";

test("loopback, link-local, unspecified and metadata addresses are forbidden; private networks are not", () => {
  const forbidden = [
    "127.0.0.1",
    "127.255.1.2",
    "0.0.0.0",
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
  ];
  for (const address of forbidden) assert.ok(isForbiddenAddress(address), address);
  const allowed = [
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "1.1.1.1",
    "fd00::1",
    "2606:4700::1111",
  ];
  for (const address of [...allowed, "::ffff:10.0.0.1", "example.com"]) {
    assert.ok(!isForbiddenAddress(address), address);
  }
});

test("however an IPv4 loopback is written into IPv6, it is found", () => {
  const octet = fc.nat(255);
  fc.assert(
    fc.property(octet, octet, octet, fc.constantFrom("::ffff:", "64:ff9b::", "::"), (a, b, c, p) =>
      isForbiddenAddress(`${p}127.${a}.${b}.${c}`),
    ),
  );
  fc.assert(fc.property(fc.ipV6(), (address) => typeof isForbiddenAddress(address) === "boolean"));
});

test("a name that leads to loopback is refused where the socket asks for its address", async () => {
  const look = (isForbidden: (address: string) => boolean, all: boolean) =>
    new Promise((resolve) => {
      guardedLookup(isForbidden)("localhost", { all, family: 4 }, (error, address) =>
        resolve(error ?? address),
      );
    });
  assert.match(String(await look(isForbiddenAddress, true)), /localhost is a loopback/);
  assert.equal(await look(() => false, false), "127.0.0.1");
  assert.deepEqual(await look(() => false, true), [{ address: "127.0.0.1", family: 4 }]);
});

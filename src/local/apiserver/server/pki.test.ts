import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { chmodSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { connect } from "node:tls";
import { ManualClock } from "#test/support/manual-clock.ts";
import { tempFolder } from "#test/support/temp-folder.ts";
import { loadOrMakePki, type Pki } from "./pki.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Connections are made with the machine's clock. */
const present = () => new ManualClock(Date.now());

async function connects(
  t: TestContext,
  pki: Pki,
  ca: string,
  servername?: string,
): Promise<boolean> {
  const server = createServer({ cert: pki.cert, key: pki.key });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port, ca, ...(servername ? { servername } : {}) });
  t.after(() => socket.destroy());
  try {
    await once(socket, "secureConnect");
    return socket.authorized;
  } catch {
    return false;
  }
}

describe("pki", () => {
  it("makes an authority and a certificate that clients accept under every name", async (t) => {
    const dir = await tempFolder(t);
    const pki = await loadOrMakePki(dir, { hosts: ["10.1.2.3", "box.lan"], clock: present() });
    for (const name of [undefined, "localhost", "kubernetes.default.svc", "box.lan"]) {
      assert.equal(await connects(t, pki, pki.ca, name), true, name ?? "by address");
    }
    assert.equal(await connects(t, pki, pki.ca, "elsewhere"), false);
    const certificate = new X509Certificate(pki.cert);
    for (const address of ["::1", "10.1.2.3"]) assert.ok(certificate.checkIP(address), address);
    assert.equal(certificate.ca, false);
    assert.equal(new X509Certificate(pki.ca).ca, true);
    for (const file of ["ca.key", "server.key"]) {
      assert.equal(statSync(join(dir, "pki", file)).mode & 0o777, 0o600);
    }
  });

  it("keeps what is good, and lives for the times that are said", async (t) => {
    const dir = await tempFolder(t);
    const clock = new ManualClock();
    const first = await loadOrMakePki(dir, { clock });
    await clock.advance(334 * DAY_MS);
    assert.deepEqual(await loadOrMakePki(dir, { clock }), first);
    await clock.advance(2 * DAY_MS);
    const renewed = await loadOrMakePki(dir, { clock });
    assert.equal(renewed.ca, first.ca);
    assert.notEqual(renewed.cert, first.cert);
    const years = (pem: string) => {
      const { validFrom, validTo } = new X509Certificate(pem);
      return Math.round((Date.parse(validTo) - Date.parse(validFrom)) / DAY_MS / 365);
    };
    assert.deepEqual([years(renewed.ca), years(renewed.cert)], [10, 1]);
  });

  it("makes a new server certificate when the hosts change, in either direction", async (t) => {
    const dir = await tempFolder(t);
    const clock = present();
    const first = await loadOrMakePki(dir, { clock });
    const more = await loadOrMakePki(dir, { clock, hosts: ["box.lan"] });
    assert.notEqual(more.cert, first.cert);
    assert.equal(await connects(t, more, first.ca, "box.lan"), true);
    const less = await loadOrMakePki(dir, { clock });
    assert.equal(await connects(t, less, first.ca, "box.lan"), false);
  });

  it("keeps the trust of its clients when the authority is renewed or its certificate torn", async (t) => {
    const dir = await tempFolder(t);
    const old = await loadOrMakePki(dir, { clock: new ManualClock(Date.now() - 9 * 365 * DAY_MS) });
    const renewed = await loadOrMakePki(dir, { clock: present() });
    assert.notEqual(renewed.ca, old.ca);
    assert.equal(await connects(t, renewed, old.ca), true, "who trusted the old one");
    assert.equal(await connects(t, renewed, renewed.ca), true, "who trusts the new one");
    writeFileSync(join(dir, "pki", "ca.crt"), renewed.ca.slice(0, 100));
    const mended = await loadOrMakePki(dir, { clock: present() });
    assert.equal(await connects(t, mended, old.ca), true, "after a torn file");
  });

  for (const file of ["ca.crt", "ca.key", "server.crt", "server.key"]) {
    for (const [how, harm] of [
      ["empty", (path: string) => truncateSync(path, 0)],
      ["cut", (path: string) => truncateSync(path, 120)],
      ["gone", (path: string) => rmSync(path)],
      ["unreadable", (path: string) => chmodSync(path, 0)],
      ["rubbish", (path: string) => writeFileSync(path, "\u0000rubbish")],
    ] as const) {
      it(`starts when ${file} is ${how}`, async (t) => {
        const dir = await tempFolder(t);
        const clock = present();
        await loadOrMakePki(dir, { clock });
        harm(join(dir, "pki", file));
        const pki = await loadOrMakePki(dir, { clock });
        assert.equal(await connects(t, pki, pki.ca), true);
        assert.deepEqual(await loadOrMakePki(dir, { clock }), pki, "and is settled then");
      });
    }
  }

  it("does not mix up the pairs of two crashes", async (t) => {
    const [dir, other] = [await tempFolder(t), await tempFolder(t)];
    await loadOrMakePki(dir, { clock: present() });
    await loadOrMakePki(other, { clock: present() });
    const foreign = readFileSync(join(other, "pki", "ca.key"));
    writeFileSync(join(dir, "pki", "ca.key"), foreign);
    const pki = await loadOrMakePki(dir, { clock: present() });
    assert.equal(await connects(t, pki, pki.ca), true);
  });
});

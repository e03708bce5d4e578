import assert from "node:assert/strict";

/** How far back history stays: other tests list and watch what happened a moment ago. */
const KEPT = 300;

/** Forgets all but the last changes of an etcd, as kube-apiserver has it do every five minutes. */
export async function compact(etcdUrl: string): Promise<void> {
  const post = async (path: string, body: object) => {
    const answer = await fetch(`${etcdUrl}/v3/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    assert.ok(answer.ok || text.includes("has been compacted"), text);
    return JSON.parse(text);
  };
  const { header } = await post("kv/range", { key: Buffer.from("none").toString("base64") });
  const revision = Math.max(2, Number(header.revision) - KEPT);
  await post("kv/compaction", { revision });
}

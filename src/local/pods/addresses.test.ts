import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { addressAt, aliasCommand, nextAddress, POD_POOL, POOL_SIZE_MAX } from "./addresses.ts";

describe("pod addresses", () => {
  it("are distinct host addresses below one network", () => {
    const seen = new Set<string>();
    for (let index = 0; index < POOL_SIZE_MAX; index++) {
      const address = addressAt(POD_POOL, index);
      assert.match(address, /^127\.20\.\d+\.\d+$/);
      assert.doesNotMatch(address, /\.(?:0|255)$/);
      seen.add(address);
    }
    assert.equal(seen.size, POOL_SIZE_MAX);
  });

  it("are never given twice, and a freed one comes back last", () => {
    const pool = { second: 20, size: 8 };
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1, max: 7 }), { maxLength: 60 }), (steps) => {
        const taken: string[] = [];
        let from = 3;
        for (const step of steps) {
          if (step >= 0) {
            if (step < taken.length) taken.splice(step, 1);
            continue;
          }
          const next = nextAddress(pool, from, new Set(taken));
          if (taken.length === pool.size) assert.equal(next, undefined);
          else {
            assert.ok(next !== undefined && !taken.includes(next.address));
            taken.push(next.address);
            from = next.next;
          }
        }
      }),
    );
  });

  it("names the command that adds them where the system lacks them", () => {
    assert.equal(
      aliasCommand({ second: 20, size: 48 }),
      "for i in $(seq 1 48); do sudo ifconfig lo0 alias 127.20.0.$i up; done",
    );
  });
});

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { FleetCount, FleetOrder } from "./fleet.ts";

/** The engines of a fleet, in a process of their own: what they cost is not the controller's. */
export class Fleet {
  readonly #child: ChildProcess;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(hosts: readonly string[], port: number): Promise<Fleet> {
    const fleet = new Fleet(fork(join(import.meta.dirname, "fleet.ts")));
    await fleet.order({ kind: "start", hosts, port });
    return fleet;
  }

  /** One order at a time: answers carry nothing to tell them apart. */
  order(order: FleetOrder): Promise<FleetCount> {
    const answer = this.#last.then(async () => {
      this.#child.send(order);
      const [count] = (await once(this.#child, "message")) as [FleetCount];
      return count;
    });
    this.#last = answer.catch(() => {});
    return answer;
  }

  async stop(): Promise<void> {
    const exited = once(this.#child, "exit");
    this.#child.disconnect();
    await exited;
  }
}

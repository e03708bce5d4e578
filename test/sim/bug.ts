import type { Clock } from "#base/clock.ts";
import type { runElected } from "#controller/manager.ts";
import type { Engines } from "#controller/places.ts";
import type { Plan } from "#core/adapter/plan.ts";
import type { Seen } from "#core/adapter/seen.ts";
import type { KubeClient } from "#kube/client.ts";
import type { Host } from "./host.ts";

/** Where a test can put a bug into the controllers of a world, to see whether anybody notices. */
export interface Bug {
  readonly planner?: (seen: Seen) => Plan;
  readonly client?: (client: KubeClient, host: Host) => KubeClient;
  readonly engines?: (engines: Engines) => Engines;
  readonly clock?: (clock: Clock) => Clock;
  readonly run?: typeof runElected;
}

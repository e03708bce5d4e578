/** Which of a model's pods gets the next request. */
import type { Route, RouteEndpoint } from "./table.ts";

/** What the gateway knows about an endpoint's address right now. */
export interface EndpointLoad {
  readonly inFlight: number;
  /** True for a short time after a connection to it failed. */
  readonly isSuspect: boolean;
}

/** How far above the mean an adapter's home pod may be loaded before the next pod in its order takes over. */
const HOME_LOAD_FACTOR = 1.25;

/**
 * Chooses an endpoint that is not among `tried`; undefined when none is left.
 *
 * A base model goes to the pod with the fewest requests in flight. An adapter takes the first pod in
 * its own order whose load is not above a bound: so its weights stay in few pods' memory, yet no pod is
 * loaded much more than the mean.
 * Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", 2016.
 * @param random 0 to 1; decides between equals.
 */
export function pickEndpoint(
  route: Route,
  loadOf: (address: string) => EndpointLoad,
  tried: ReadonlySet<string>,
  random: number,
): RouteEndpoint | undefined {
  const left = route.endpoints.filter((endpoint) => !tried.has(endpoint.address));
  const trusted = left.filter((endpoint) => !loadOf(endpoint.address).isSuspect);
  const candidates = trusted.length > 0 ? trusted : left;
  if (candidates.length <= 1) return candidates[0];
  const loads = candidates.map((endpoint) => loadOf(endpoint.address).inFlight);
  if (route.kind === "base") {
    const least = Math.min(...loads);
    const equals = candidates.filter((_endpoint, index) => loads[index] === least);
    return equals[Math.min(equals.length - 1, Math.floor(random * equals.length))];
  }
  const total = loads.reduce((sum, load) => sum + load, 0);
  const bound = Math.ceil((HOME_LOAD_FACTOR * (total + 1)) / candidates.length);
  // Somebody is always below the bound, because it is above the mean.
  return candidates.find((_endpoint, index) => (loads[index] ?? 0) < bound);
}

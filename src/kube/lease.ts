import type { Lease } from "#api/kubernetes.ts";
import { jitterMs } from "#base/backoff.ts";
import { type Clock, timeOfDay, toMicroTimestamp } from "#base/clock.ts";
import { UserError } from "#base/errors.ts";
import { describeError } from "#base/network-error.ts";
import type { Log } from "#telemetry/log.ts";
import { isConflict, isNotFound, type KubeClient, LEASES } from "./client.ts";
import { withDeadline } from "./deadline.ts";

export interface LeaderElectionOptions {
  readonly namespace: string;
  /** Name of the Lease. */
  readonly name: string;
  /** Who we are: unique among all candidates, e.g. the pod's name. */
  readonly identity: string;
  /** How long others leave a lease alone that is not renewed. Default: 15 s. */
  readonly leaseDurationMs?: number;
  /** How long we lead without a successful renewal; below leaseDurationMs. Default: 10 s. */
  readonly renewDeadlineMs?: number;
  /** Pause between two tries to acquire or renew; below renewDeadlineMs. Default: 2 s. */
  readonly retryPeriodMs?: number;
}

export interface LeaderElectionDeps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1; spreads the candidates' tries. */
  readonly random: () => number;
}

/** The lease went to somebody else or could not be renewed in time: whatever we did as leader must stop. */
export class LeadershipLost extends Error {
  override readonly name = "LeadershipLost";
}

const LEASE_DURATION_MS = 15_000;
const RENEW_DEADLINE_MS = 10_000;
const RETRY_PERIOD_MS = 2_000;
const RETRY_JITTER = 0.2;
const RELEASE_TIMEOUT_MS = 2_000;

/** The lease as last read or written, and when we saw it change: other machines' clocks are not trusted. */
interface Observed {
  readonly lease: Lease;
  readonly changedAtMs: number;
}

/** Leader election over a Lease, with the rules and defaults of client-go. */
export class LeaderElector {
  readonly #deps: LeaderElectionDeps;
  readonly #options: Required<LeaderElectionOptions>;
  readonly #title: string;
  #observed: Observed | undefined;
  /** Until when we may act as leader. */
  #leadUntilMs = 0;

  constructor(deps: LeaderElectionDeps, options: LeaderElectionOptions) {
    this.#deps = deps;
    this.#options = {
      leaseDurationMs: LEASE_DURATION_MS,
      renewDeadlineMs: RENEW_DEADLINE_MS,
      retryPeriodMs: RETRY_PERIOD_MS,
      ...options,
    };
    const { leaseDurationMs, renewDeadlineMs, retryPeriodMs } = this.#options;
    if (
      leaseDurationMs <= renewDeadlineMs ||
      renewDeadlineMs <= retryPeriodMs * (1 + RETRY_JITTER)
    ) {
      throw new UserError(
        `leader election needs lease duration (${leaseDurationMs} ms) > renew deadline (${renewDeadlineMs} ms) > retry period (${retryPeriodMs} ms)`,
      );
    }
    this.#title = `${options.namespace}/${options.name}`;
  }

  /** True only while nobody else can lead: false from the renew deadline on, even if no timer has fired yet. */
  isLeader(): boolean {
    return this.#deps.clock.now() < this.#leadUntilMs;
  }

  /** Identity of whoever leads, as last seen. */
  leader(): string | undefined {
    const holder = this.#observed?.lease.spec.holderIdentity ?? "";
    return holder === "" ? undefined : holder;
  }

  /**
   * Waits for the leadership, then runs `lead` with a signal that is aborted when it is lost or `signal`
   * is; releases the lease after `lead` has returned.
   * @throws LeadershipLost when it was lost; what `lead` throws otherwise.
   */
  async run(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#deps;
    while (!(await this.#attempt(signal))) {
      if (signal.aborted) return;
      const pauseMs = jitterMs(this.#options.retryPeriodMs, RETRY_JITTER, random);
      await clock.sleep(pauseMs, signal).catch(() => {});
    }
    const leading = new AbortController();
    const stop = () => leading.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const renewing = this.#renewUntilLost(leading);
    const failure = await lead(leading.signal).then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    signal.removeEventListener("abort", stop);
    const { reason } = leading.signal;
    leading.abort();
    await renewing;
    if (reason instanceof LeadershipLost) throw reason;
    await this.#release();
    if (failure !== undefined) throw failure.error;
  }

  /** One try to get or keep the lease; true when it is ours. An error means no. */
  async #attempt(signal: AbortSignal): Promise<boolean> {
    const { clock, log } = this.#deps;
    // A request that hangs must leave time for a second one.
    const timeoutMs = this.#options.renewDeadlineMs / 2;
    try {
      return await withDeadline(clock, timeoutMs, "no answer about the lease", signal, (limited) =>
        this.#acquireOrRenew(limited),
      );
    } catch (error) {
      if (signal.aborted) return false;
      // Somebody else was faster, or it was deleted: the next try reads it again.
      if (isConflict(error) || isNotFound(error)) this.#observed = undefined;
      else {
        log.warn("Lease request failed, will retry", {
          lease: this.#title,
          error: describeError(error),
        });
      }
      return false;
    }
  }

  async #acquireOrRenew(signal: AbortSignal): Promise<boolean> {
    const { client, clock } = this.#deps;
    const { identity, renewDeadlineMs } = this.#options;
    const startedMs = clock.now();
    // Our own last version saves the read when nobody interfered, which is nearly always.
    if (this.leader() !== identity) {
      const lease = await this.#read(signal);
      if (lease === undefined) {
        const { namespace, name } = this.#options;
        const spec = this.#ours(undefined, startedMs);
        this.#observe(
          await client.create(LEASES, { metadata: { namespace, name }, spec }, { signal }),
        );
        this.#leadUntilMs = startedMs + renewDeadlineMs;
        return true;
      }
      this.#observe(lease);
    }
    const observed = this.#observed;
    if (observed === undefined || !this.#isFree(observed)) {
      this.#leadUntilMs = 0;
      return false;
    }
    const wanted = { ...observed.lease, spec: this.#ours(observed.lease, startedMs) };
    this.#observe(await client.update(LEASES, wanted, { signal }));
    this.#leadUntilMs = startedMs + renewDeadlineMs;
    return true;
  }

  async #read(signal: AbortSignal): Promise<Lease | undefined> {
    const { namespace, name } = this.#options;
    try {
      return await this.#deps.client.get(LEASES, { namespace, name }, signal);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #observe(lease: Lease): void {
    const { log, clock } = this.#deps;
    const { identity, namespace } = this.#options;
    if (lease.metadata.resourceVersion === this.#observed?.lease.metadata.resourceVersion) return;
    const before = this.leader();
    this.#observed = { lease, changedAtMs: clock.now() };
    const holder = this.leader();
    if (holder === undefined || holder === before) return;
    if (holder === identity) {
      log.info("This instance leads", { lease: this.#title, identity });
      return;
    }
    // Most candidates are pods, whose name begins their identity.
    log.info("Another instance leads; its log has the work", {
      lease: this.#title,
      leader: holder,
      command: `kubectl logs -n ${namespace} ${holder.split("_")[0]}`,
    });
  }

  #isFree({ lease, changedAtMs }: Observed): boolean {
    const holder = this.leader();
    if (holder === undefined || holder === this.#options.identity) return true;
    const seconds = lease.spec.leaseDurationSeconds ?? this.#options.leaseDurationMs / 1000;
    return this.#deps.clock.now() >= changedAtMs + seconds * 1000;
  }

  /** The lease's spec with us as its holder. */
  #ours(current: Lease | undefined, nowMs: number): Lease["spec"] {
    const { identity, leaseDurationMs } = this.#options;
    const spec = current?.spec;
    const isRenewal = spec?.holderIdentity === identity;
    const acquireTime = isRenewal ? spec.acquireTime : undefined;
    const renewTime = toMicroTimestamp(timeOfDay(this.#deps.clock, nowMs));
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.max(1, Math.ceil(leaseDurationMs / 1000)),
      acquireTime: acquireTime ?? renewTime,
      renewTime,
      leaseTransitions: (spec?.leaseTransitions ?? 0) + (isRenewal || spec === undefined ? 0 : 1),
    };
  }

  async #renewUntilLost(leading: AbortController): Promise<void> {
    const { clock } = this.#deps;
    const { identity, retryPeriodMs } = this.#options;
    let disarm = () => {};
    const arm = () => {
      disarm();
      // The deadline has its own timer: a renewal that hangs must not hold it up.
      disarm = clock.after(this.#leadUntilMs - clock.now(), () =>
        leading.abort(new LeadershipLost(`lease ${this.#title} was not renewed in time`)),
      );
    };
    arm();
    while (!leading.signal.aborted) {
      await clock.sleep(retryPeriodMs, leading.signal).catch(() => {});
      if (leading.signal.aborted) break;
      const holder = (await this.#attempt(leading.signal)) ? identity : this.leader();
      if (holder === identity) arm();
      else if (holder !== undefined) {
        leading.abort(new LeadershipLost(`lease ${this.#title} went to ${holder}`));
      }
    }
    disarm();
  }

  async #release(): Promise<void> {
    const { client, clock, log } = this.#deps;
    this.#leadUntilMs = 0;
    try {
      await withDeadline(clock, RELEASE_TIMEOUT_MS, "no answer", undefined, async (signal) => {
        // Read again: a renewal that was cut off by the stop may have been the last write.
        const lease = await this.#read(signal);
        if (lease?.spec.holderIdentity !== this.#options.identity) return;
        const renewTime = toMicroTimestamp(timeOfDay(clock));
        const spec = { ...lease.spec, holderIdentity: "", renewTime };
        await client.update(LEASES, { ...lease, spec }, { signal });
      });
    } catch (error) {
      log.warn("Lease could not be released; others wait until it expires", {
        lease: this.#title,
        error: describeError(error),
      });
    }
  }
}

import type { Case } from "./builtin-cases/case.ts";
import { CONFIGS, SLICES } from "./builtin-cases/configs.ts";
import { OTHERS } from "./builtin-cases/others.ts";
import { PODS } from "./builtin-cases/pods.ts";
import { EVENTS, RBAC, WEBHOOKS } from "./builtin-cases/policies.ts";
import { SERVICES } from "./builtin-cases/services.ts";
import { WORKLOADS } from "./builtin-cases/workloads.ts";

/** What is tried on a real API server, see record-builtins.ts. */
export const cases: readonly Case[] = [
  ...PODS,
  ...WORKLOADS,
  ...SERVICES,
  ...CONFIGS,
  ...SLICES,
  ...EVENTS,
  ...RBAC,
  ...WEBHOOKS,
  ...OTHERS,
];

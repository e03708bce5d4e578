import type { Route, RouteTable } from "#core/route/table.ts";

/** A model as OpenAI lists it, with vLLM's `root` and `parent`. */
function modelObject(id: string, route: Route) {
  return {
    id,
    object: "model",
    created: route.createdS,
    owned_by: "loradock",
    root: route.root,
    parent: route.parent ?? null,
  };
}

/** The body of GET /v1/models: what would be answered right now. */
export function modelList(table: RouteTable): string {
  const data = [...table.names]
    .filter(([, route]) => route.endpoints.length > 0)
    .map(([name, route]) => modelObject(name, route));
  return JSON.stringify({ object: "list", data });
}

/** The body of GET /v1/models/{id}; undefined when there is no such model, or nobody serves it. */
export function modelBody(table: RouteTable, id: string): string | undefined {
  const route = table.lookup(id);
  if (route === undefined || route.endpoints.length === 0) return undefined;
  return JSON.stringify(modelObject(id, route));
}

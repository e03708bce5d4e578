/**
 * The URL that a request asks for, whatever its target looks like: `//`, `*` and the absolute form of a
 * proxy's request come from anybody, and none of them may be an exception.
 */
export function requestUrl(target = "/"): URL {
  const path = target.startsWith("/") ? target : (pathOfAbsolute(target) ?? `/${target}`);
  return new URL(`http://localhost${path}`);
}

/** What an absolute target asks for at its host; undefined when it is no absolute URL. */
function pathOfAbsolute(target: string): string | undefined {
  const url = URL.parse(target);
  return url === null || url.host === "" ? undefined : `${url.pathname}${url.search}`;
}

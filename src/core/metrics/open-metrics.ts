/** How an OpenMetrics exposition ends. */
const EOF = "# EOF\n";

function isOpenMetrics(text: string): boolean {
  return text.endsWith(EOF) || text.endsWith("# EOF");
}

/** `more`, in the older text format, behind what is in `text`, in the format that `text` has. */
export function appendMetrics(text: string, more: string): string {
  if (!isOpenMetrics(text)) return text + (text === "" || text.endsWith("\n") ? "" : "\n") + more;
  // Here a counter's family goes without the `_total` that its samples have.
  const families = more.replace(
    /^# HELP (\S+)_total (.*)\n# TYPE \1_total counter$/gm,
    "# HELP $1 $2\n# TYPE $1 counter",
  );
  // Empty lines separate families in one format and are an error in the other.
  return text.slice(0, text.lastIndexOf("# EOF")) + families.replace(/^\n/gm, "") + EOF;
}

// Prints each event as a line of JSON, until the standard input ends.
export function listen(EventSource) {
  const [url, ...types] = process.argv.slice(2);
  const source = new EventSource(url);
  for (const type of types) {
    source.addEventListener(type, ({ type, data, lastEventId }) => {
      process.stdout.write(JSON.stringify({ type, data, lastEventId }) + "\n");
    });
  }
  source.addEventListener("error", (error) => {
    console.error("error", source.readyState, error.message ?? "");
    if (source.readyState === EventSource.CLOSED) process.exit(1);
  });
  process.stdin.resume().on("end", () => process.exit());
}

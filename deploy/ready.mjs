// Waits until the broker takes clients, then ends with 0; after the time allowed with 1. For systemd's ExecStartPost and a
// container's health check.
//
//   node ready.mjs [seconds, default 30] [URL, default http://127.0.0.1:5280/readyz]
const seconds = Number(process.argv[2] ?? 30);
const url = process.argv[3] ?? `http://127.0.0.1:${process.env.THRUM_HTTP_PORT ?? 5280}/readyz`;
const end = Date.now() + seconds * 1000;

let last;
do {
  last = await fetch(url, { signal: AbortSignal.timeout(2000) }).then(
    async (response) => (response.ok ? undefined : `${response.status} ${await response.text()}`),
    (error) => error.cause?.message ?? error.message,
  );
  if (last === undefined) process.exit(0);
  await new Promise((resolve) => setTimeout(resolve, 200));
} while (Date.now() < end);
console.error(`${url} is not ready: ${last}`);
process.exit(1);

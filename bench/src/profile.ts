import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Accounts, startBroker } from './broker.js';
import { TRANSPORTS } from './client.js';
import { allRows } from './rows.js';

const USAGE = `Runs one load on a broker under clinic.

  npm run profile -- [--tool flame|doctor|bubbleprof] [--only fanout] [--variant plain] [--transport tcp] [--seconds 10]

The report is a file of HTML below bench/.clinic/.
`;

const { values } = parseArgs({
  options: {
    tool: { type: 'string', default: 'doctor' },
    only: { type: 'string', default: 'fanout' },
    variant: { type: 'string', default: 'plain' },
    transport: { type: 'string', default: TRANSPORTS[0] },
    seconds: { type: 'string', default: '10' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) process.stdout.write(USAGE);
else await main();

async function main(): Promise<void> {
  const row = allRows({ connections: 1000, payloadBytes: 230 }).find(
    ({ scenario, variant, transport, workers }) =>
      scenario === values.only &&
      (variant || 'plain') === values.variant &&
      transport === values.transport &&
      workers === 1,
  );
  if (row === undefined) throw new Error('there is no such load; npm run bench -- --list shows them');
  const clinic = fileURLToPath(new URL('../node_modules/clinic/bin.js', import.meta.url));
  if (!existsSync(clinic)) throw new Error('clinic is not installed: npm --prefix bench ci');
  // It would ask whether it may report its use.
  process.env.NO_INSIGHT = '1';
  process.env.NO_UPDATE_NOTIFIER = '1';
  const accounts = new Accounts();
  const dataDir = await accounts.copy(row.accounts);
  const folder = fileURLToPath(new URL('../.clinic', import.meta.url));
  // The profilers leave files where they are run, and refuse to start beside those of a run that was broken off.
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(folder)) if (file.startsWith('node_trace.')) rmSync(join(folder, file));
  process.chdir(folder);
  try {
    const solo = fileURLToPath(new URL('../solo.mjs', import.meta.url));
    const clinicOf = [clinic, values.tool, '--dest', folder, '--open=false', '--'];
    const broker = await startBroker(dataDir, {}, [process.execPath, ...clinicOf, process.execPath, solo]);
    const result = await row.run(broker, Number(values.seconds)).finally(() => broker.stop());
    console.log(
      `${Math.round(result.done / result.seconds)} a second under ${values.tool}; the report is in ${folder}`,
    );
  } finally {
    await accounts.remove();
    await rm(dataDir, { recursive: true, force: true });
  }
}
